import shutil
from collections import Counter
from itertools import product

import pytest

from liveness_training.data.replay_mobile import read
from liveness_training.data.samples import DataError
from support.videos import plant

PEOPLE = {
    "train": (1, 3, 8, 11, 12, 16, 18, 20, 26, 34, 37, 38),
    "devel": (5, 6, 13, 14, 15, 23, 24, 25, 28, 29, 31, 32, 35, 36, 39, 40),
    "test": (2, 4, 7, 9, 10, 17, 19, 21, 22, 27, 30, 33),
}
SHOWN = (("print", "fixed", "photo"), ("print", "hand", "photo"))
SHOWN += (("mattescreen", "fixed", "photo"), ("mattescreen", "fixed", "video"))


def names(part):
    for person, camera in product(PEOPLE[part], ("mobile", "tablet")):
        if person != 9:
            for light in ("adverse", "controlled", "diffuse", "direct", "lateral"):
                yield f"{part}/real/client{person:03d}_session02_authenticate_{camera}_{light}.mov"
        for (instrument, held, kind), light in product(SHOWN, ("lighton", "lightoff")):
            stem = f"attack_client{person:03d}_session01_{instrument}_{held}_{camera}_{kind}_{light}"
            yield f"{part}/attack/{stem}.mov"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("replay_mobile")
    plant(root, [name for part in PEOPLE for name in names(part)])
    plant(root, ["enroll/train/client001_session01_enroll_mobile_1.mov"])
    boxes = root / "faceloc" / "rect" / "train" / "real"
    boxes.mkdir(parents=True)
    (boxes / "client001_session02_authenticate_mobile_adverse.face").write_text("0 118 67 117 117\n")
    return root


@pytest.fixture
def small(tmp_path):
    return plant(tmp_path, [next(n for n in names(p) if kind in n) for p in PEOPLE for kind in ("real", "attack")])


def test_whole_set_is_read_with_its_splits(whole):
    samples = read(whole)
    found = Counter((sample.split, sample.live) for sample in samples)
    assert [found[split, True] for split in ("train", "dev", "test")] == [120, 160, 110]
    assert [found[split, False] for split in ("train", "dev", "test")] == [192, 256, 192]
    assert Counter(sample.species for sample in samples) == {"live": 390, "print": 320, "replay": 320}
    people = {split: {s.subject for s in samples if s.split == split} for split in ("train", "dev", "test")}
    assert [len(found) for found in people.values()] == [12, 16, 12]
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == 1030
    assert all((whole / sample.path).is_file() and sample.is_video for sample in samples)
    assert not [sample for sample in samples if "enroll" in sample.path]
    assert {sample.domain for sample in samples} == {"replay_mobile"}


@pytest.mark.parametrize(
    ("path", "species", "detail"),
    [
        ("real/client010_session02_authenticate_tablet_lateral", "live", ""),
        ("attack/attack_client010_session01_print_hand_mobile_photo_lighton", "print", "print_photo_hand"),
        (
            "attack/attack_client010_session01_mattescreen_fixed_tablet_video_lightoff",
            "replay",
            "mattescreen_video_fixed",
        ),
    ],
)
def test_name_says_person_species_and_instrument(whole, path, species, detail):
    [sample] = [sample for sample in read(whole) if sample.path == f"test/{path}.mov"]
    assert (sample.species, sample.live, sample.detail) == (species, species == "live", detail)
    assert (sample.subject, sample.split) == ("010", "test")


def test_the_two_cameras_are_turned_in_opposite_ways_but_for_two_videos(whole):
    turns = {
        (camera, sample.turn_deg) for sample in read(whole) for camera in ("mobile", "tablet") if camera in sample.path
    }
    assert turns == {("mobile", 270), ("tablet", 90), ("tablet", 270)}
    odd = {sample.path for sample in read(whole) if "tablet" in sample.path and sample.turn_deg == 270}
    assert odd == {
        f"train/real/client008_session02_authenticate_tablet_{light}.mov" for light in ("adverse", "controlled")
    }


@pytest.mark.parametrize("folder", ["train", "devel", "test", "train/real", "devel/attack"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


@pytest.mark.parametrize(
    "file",
    [
        "real/client001_session02_authenticate_laptop_adverse.mov",
        "real/client001_session02_authenticate_mobile_lighton.mov",
        "attack/attack_client001_session01_mask_fixed_mobile_photo_lighton.mov",
        "attack/client001_session02_authenticate_mobile_adverse.mov",
        "real/client001_session02_authenticate_mobile_adverse.mp4",
    ],
)
def test_unknown_file_is_named(small, file):
    (small / "devel" / file).touch()
    with pytest.raises(DataError, match=rf"devel/{file}: unknown file"):
        read(small)


def test_protocol_is_refused(small):
    with pytest.raises(DataError, match="replay_mobile has no protocols"):
        read(small, "grandtest")
