import shutil
from collections import Counter
from itertools import product

import pytest

from liveness_training.data.msu_mfsd import read
from liveness_training.data.samples import DataError
from support.videos import plant

TRAIN = (2, 3, 5, 6, 7, 8, 9, 11, 12, 21, 22, 34, 53, 54, 55)
TEST = (1, 13, 14, 23, 24, 26, 28, 29, 30, 32, 33, 35, 36, 37, 39, 42, 48, 49, 50, 51)
SUFFIXES = {"laptop": "mov", "android": "mp4"}


def names(people):
    for person, (camera, suffix) in product(people, SUFFIXES.items()):
        yield f"scene01/real/real_client{person:03d}_{camera}_SD_scene01.{suffix}"
        for shown in ("ipad_video", "iphone_video", "printed_photo"):
            yield f"scene01/attack/attack_client{person:03d}_{camera}_SD_{shown}_scene01.{suffix}"


def make(root, train, test):
    plant(root, names([*train, *test]))
    for video in root.rglob("*.m*"):
        video.with_suffix(".face").write_text("0,210,90,410,330,260,180,360,180\n")
    for part, people in (("train", train), ("test", test)):
        (root / f"{part}_sub_list.txt").write_text("".join(f"{person:02d}\r\n" for person in people))
    (root / "README.txt").touch()
    (root / "DecFrames.m").touch()
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("msu"), TRAIN, TEST)


@pytest.fixture
def small(tmp_path):
    return make(tmp_path, [2], [1])


def test_whole_set_is_read_with_its_splits(whole):
    samples = read(whole)
    found = Counter((sample.split, sample.live) for sample in samples)
    assert found == {("train", True): 30, ("train", False): 90, ("test", True): 40, ("test", False): 120}
    assert Counter(sample.species for sample in samples) == {"live": 70, "print": 70, "replay": 140}
    assert Counter(sample.detail for sample in samples) == {
        "": 70,
        "printed_photo": 70,
        "ipad_video": 70,
        "iphone_video": 70,
    }
    assert {int(sample.subject) for sample in samples if sample.split == "train"} == {*TRAIN}
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == 280
    assert all((whole / sample.path).is_file() and sample.is_video for sample in samples)
    assert {sample.domain for sample in samples} == {"msu_mfsd"}


@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("real/real_client002_laptop_SD_scene01.mov", "live"),
        ("attack/attack_client002_android_SD_printed_photo_scene01.mp4", "print"),
        ("attack/attack_client002_android_SD_iphone_video_scene01.mp4", "replay"),
        ("attack/attack_client002_laptop_SD_ipad_video_scene01.mov", "replay"),
    ],
)
def test_name_says_person_and_species(small, name, species):
    [sample] = [sample for sample in read(small) if sample.path == f"scene01/{name}"]
    assert (sample.species, sample.live, sample.subject) == (species, species == "live", "002")


def test_six_live_videos_of_the_phone_are_upside_down(whole):
    turned = {sample.path: sample.turn_deg for sample in read(whole) if sample.turn_deg}
    expected = [f"scene01/real/real_client{person:03d}_android_SD_scene01.mp4" for person in (3, 5, 6, 7, 8, 9)]
    assert turned == dict.fromkeys(expected, 180)


@pytest.mark.parametrize("folder", ["scene01", "scene01/real", "scene01/attack"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


@pytest.mark.parametrize("part", ["train", "test"])
def test_missing_list_is_named(small, part):
    (small / f"{part}_sub_list.txt").unlink()
    with pytest.raises(DataError, match=rf"{part}_sub_list\.txt does not exist"):
        read(small)


@pytest.mark.parametrize(
    "file",
    [
        "real/real_client002_ipad_SD_scene01.mov",
        "real/attack_client002_laptop_SD_ipad_video_scene01.mov",
        "attack/attack_client002_laptop_SD_scene01.mov",
        "attack/attack_client002_laptop_SD_mask_scene01.mov",
        "real/real_client002_laptop_SD_scene01.mp4",  # a laptop's videos are .mov
        "real/real_client002_android_SD_scene01.avi",
    ],
)
def test_unknown_file_is_named(small, file):
    (small / "scene01" / file).touch()
    with pytest.raises(DataError, match=rf"scene01/{file}: unknown file"):
        read(small)


def test_person_in_no_list_is_named(small):
    plant(small, names([13]))
    with pytest.raises(
        DataError, match=r"client013.*: person 013 is in none of train_sub_list\.txt, test_sub_list\.txt"
    ):
        read(small)


def test_listed_person_without_videos_is_named(small):
    (small / "test_sub_list.txt").write_text("01\n55\n")
    with pytest.raises(DataError, match=r"scene01 holds no video of person 055"):
        read(small)


@pytest.mark.parametrize(
    ("text", "said"), [("01\n2\n", "person 2 is listed twice"), ("01\nx\n", "'x', expected the number")]
)
def test_faulty_list_is_named(small, text, said):
    (small / "test_sub_list.txt").write_text(text)
    with pytest.raises(DataError, match=rf"test_sub_list\.txt: {said}"):
        read(small)


def test_protocol_is_refused(small):
    with pytest.raises(DataError, match="msu_mfsd has no protocols"):
        read(small, "1")
