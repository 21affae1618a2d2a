import shutil
from collections import Counter
from itertools import product

import av
import pytest

from liveness_training.data.oulu_npu import PROTOCOLS, read
from liveness_training.data.samples import DataError
from support.videos import plant

USERS = {"Train": range(1, 21), "Dev": range(21, 36), "Test": range(36, 56)}
SPLITS = {"Train": "train", "Dev": "dev", "Test": "test"}
PHONES = range(1, 7)


def name(phone, session, user, shown):
    return f"{phone}_{session}_{user:02d}_{shown}"


def official(protocol, part):
    """The names in a list of the set's, by the rules that its paper gives."""
    number, _, left_out = protocol.partition(".")
    seen = part != "Test"
    sessions = {"1": (1, 2) if seen else (3,), "4": (1, 2) if seen else (3,)}.get(number, (1, 2, 3))
    shown = {"2": (1, 2, 4) if seen else (1, 3, 5), "4": (1, 2, 4) if seen else (1, 3, 5)}.get(number, (1, 2, 3, 4, 5))
    phones = [phone for phone in PHONES if not left_out or (phone == int(left_out)) != seen]
    return [name(*each) for each in product(phones, sessions, USERS[part], shown)]


def line(part, video):
    shown = int(video[-1])
    attack = -2 if part == "Test" and shown > 3 else -1
    return f"{1 if shown == 1 else attack:+d},{video}"


def list_file(root, protocol, part, nested=False):
    number, _, left_out = protocol.partition(".")
    folder = root / "Protocols" / ("Protocols" if nested else "") / f"Protocol_{number}"
    return folder / (f"{part}_{left_out}.txt" if left_out else f"{part}.txt")


def write_list(root, protocol, part, lines, **how):
    path = list_file(root, protocol, part, **how)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(lines) + "\r\n")  # as the set's own lists end


def write_lists(root, protocols=PROTOCOLS, **how):
    for protocol, part in product(protocols, USERS):
        write_list(root, protocol, part, [line(part, video) for video in official(protocol, part)], **how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Every video and every list of the set."""
    root = tmp_path_factory.mktemp("oulu")
    for part, users in USERS.items():
        names = [name(*each) for each in product(PHONES, (1, 2, 3), users, range(1, 6))]
        plant(root / f"{part}_files", [f"{each}.avi" for each in names])
        for each in names[:9]:
            (root / f"{part}_files" / f"{each}.txt").write_text("0,500,800,620,800\n")
    (root / "Train_files" / ".DS_Store").touch()
    (root / "Train_files" / "._1_1_01_1.avi").touch()
    write_lists(root)
    return root


@pytest.fixture
def small(tmp_path):
    """One video a split and kind, and lists of protocol 1 that name them."""
    for part, user in {"Train": 1, "Dev": 21, "Test": 36}.items():
        names = [name(1, 1, user, shown) for shown in range(1, 6)]
        plant(tmp_path / f"{part}_files", [f"{each}.avi" for each in names])
        write_list(tmp_path, "1", part, [line(part, each) for each in names])
    return tmp_path


def counts(samples):
    """(live, attacks) of train, dev and test."""
    found = Counter((sample.split, sample.live) for sample in samples)
    return [(found[split, True], found[split, False]) for split in SPLITS.values()]


def test_whole_set_is_read_with_its_splits(whole):
    samples = read(whole)
    assert counts(samples) == [(360, 1440), (270, 1080), (360, 1440)]
    assert {sample.subject for sample in samples if sample.split == "dev"} == {f"{user}" for user in range(21, 36)}
    assert Counter(sample.species for sample in samples) == {"live": 990, "print": 1980, "replay": 1980}
    assert all(sample.live == (sample.species == "live") for sample in samples)
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == 4950
    assert all((whole / sample.path).is_file() and sample.is_video and sample.frame is None for sample in samples)
    assert {sample.domain for sample in samples} == {"oulu_npu"}


def test_name_says_person_species_and_instrument(whole):
    by_path = {sample.path: sample for sample in read(whole)}
    found = [by_path[f"Dev_files/2_3_21_{shown}.avi"] for shown in range(1, 6)]
    assert [(sample.species, sample.detail) for sample in found] == [
        ("live", ""),
        ("print", "printer1"),
        ("print", "printer2"),
        ("replay", "display1"),
        ("replay", "display2"),
    ]
    assert {(sample.subject, sample.split) for sample in found} == {("21", "dev")}
    with av.open(str(whole / found[0].path)) as video:
        assert len(list(video.decode(video=0))) == 3


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("1", [(240, 960), (180, 720), (120, 480)]),
        ("2", [(360, 720), (270, 540), (360, 720)]),
        ("3.2", [(300, 1200), (225, 900), (60, 240)]),
        ("4.5", [(200, 400), (150, 300), (20, 40)]),
        *(
            pytest.param(f"3.{part}", [(300, 1200), (225, 900), (60, 240)], marks=pytest.mark.slow)
            for part in (1, 3, 4, 5, 6)
        ),
        *(
            pytest.param(f"4.{part}", [(200, 400), (150, 300), (20, 40)], marks=pytest.mark.slow)
            for part in (1, 2, 3, 4, 6)
        ),
    ],
)
def test_protocol_keeps_the_videos_of_its_lists(whole, protocol, expected):
    samples = read(whole, protocol)
    assert counts(samples) == expected
    for part, split in SPLITS.items():
        found = {sample.sequence for sample in samples if sample.split == split}
        assert found == set(official(protocol, part))


def test_protocol_two_tests_on_the_other_printer_and_display(whole):
    samples = read(whole, "2")
    details = {
        split: {sample.detail for sample in samples if sample.split == split and not sample.live}
        for split in ("train", "dev", "test")
    }
    assert details == {
        "train": {"printer1", "display1"},
        "dev": {"printer1", "display1"},
        "test": {"printer2", "display2"},
    }


def test_folders_nested_once_more_are_found(small):
    expected = [(sample.sequence, sample.split) for sample in read(small, "1")]
    for folder in ("Train_files", "Dev_files", "Test_files", "Protocols"):
        (small / folder).rename(small / "moved")
        (small / folder).mkdir()
        (small / "moved").rename(small / folder / folder)
    samples = read(small, "1")
    assert [(sample.sequence, sample.split) for sample in samples] == expected
    assert samples[0].path == "Train_files/Train_files/1_1_01_1.avi"


def test_without_a_protocol_the_lists_are_not_needed(small):
    shutil.rmtree(small / "Protocols")
    assert len(read(small)) == 15


@pytest.mark.parametrize("folder", ["Train_files", "Dev_files", "Test_files"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


def test_empty_folder_is_named(small):
    shutil.rmtree(small / "Dev_files")
    (small / "Dev_files").mkdir()
    with pytest.raises(DataError, match=r"Dev_files holds no video"):
        read(small)


@pytest.mark.parametrize(
    "file", ["1_1_01_6.avi", "7_1_01_1.avi", "1_4_01_1.avi", "1_1_1_1.avi", "1_1_01_1.mp4", "face.png", "1_1_01_1"]
)
def test_unknown_file_is_named(small, file):
    (small / "Train_files" / file).touch()
    with pytest.raises(DataError, match=rf"Train_files/{file}: unknown file; expected P_S_UU_F\.avi"):
        read(small)


@pytest.mark.parametrize("user", ["21", "00", "56"])
def test_person_of_another_split_is_refused(small, user):
    plant(small / "Train_files", [f"1_1_{user}_1.avi"])
    with pytest.raises(DataError, match=rf"1_1_{user}_1\.avi: person {user} is not one of Train_files"):
        read(small)


def test_second_copy_of_a_video_is_refused(small):
    plant(small / "Test_files" / "Test_files", ["1_1_36_1.avi"])
    with pytest.raises(DataError, match=r"1_1_36_1\.avi is there more than once"):
        read(small)


def test_missing_list_is_named(small):
    list_file(small, "1", "Dev").unlink()
    with pytest.raises(DataError, match=r"Protocols/Protocol_1/Dev\.txt does not exist"):
        read(small, "1")


def test_missing_protocols_folder_is_named(small):
    with pytest.raises(DataError, match=r"Protocols/Protocol_2 does not exist"):
        read(small, "2")


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("Train", "+1,6_3_20_1", r"6_3_20_1\.avi is in none of Train_files, Dev_files, Test_files"),
        ("Train", "+1,1_1_21_1", r"1_1_21_1 is no video of Train_files"),
        ("Train", "-1,1_1_01_1", r"the list says -1, but 1_1_01_1 shows live"),
        ("Train", "+1,1_1_01_2", r"the list says \+1, but 1_1_01_2 shows print"),
        ("Dev", "-2,1_1_21_4", r"the list says -2, but 1_1_21_4 shows replay"),  # kinds are told apart in Test alone
        ("Test", "-1,1_1_36_4", r"the list says -1, but 1_1_36_4 shows replay"),
        ("Test", "-2,1_1_36_2", r"the list says -2, but 1_1_36_2 shows print"),
        ("Test", "1_1_36_2", r"'1_1_36_2', expected a line like"),
    ],
)
def test_list_that_contradicts_the_videos_is_refused_by_line(small, part, text, said):
    write_list(small, "1", part, ["", text])
    with pytest.raises(DataError, match=rf"Protocol_1/{part}\.txt, line 2: {said}"):
        read(small, "1")


@pytest.mark.parametrize(("lines", "said"), [(["+1,1_1_01_1"] * 2, "listed twice"), ([], "names no video")])
def test_list_with_repetitions_or_without_a_name_is_refused(small, lines, said):
    write_list(small, "1", "Train", lines)
    with pytest.raises(DataError, match=said):
        read(small, "1")


@pytest.mark.parametrize("protocol", ["3", "3.7", "5", "", "Protocol_1"])
def test_unknown_protocol_is_refused_with_the_choices(small, protocol):
    with pytest.raises(DataError, match=rf"oulu_npu has no protocol '{protocol}', only 1, 2, 3\.1"):
        read(small, protocol)
