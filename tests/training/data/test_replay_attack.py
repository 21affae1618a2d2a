import shutil
from collections import Counter
from itertools import product

import pytest

from liveness_training.data.replay_attack import read
from liveness_training.data.samples import DataError
from support.videos import plant

# As many people as each part has; the real numbers go to 119, with gaps.
PEOPLE = {"train": range(1, 16), "devel": range(16, 31), "test": range(100, 120)}
LIGHTS = ("adverse", "controlled")
SHOWN = ("print_{}_highdef_photo", "mobile_{}_mobile_photo", "mobile_{}_mobile_video")
SHOWN += ("highdef_{}_highdef_photo", "highdef_{}_highdef_video")


def names(part):
    for person in PEOPLE[part]:
        client = f"client{person:03d}_session01"
        for light, take in product(LIGHTS, (1, 2)):
            yield f"{part}/real/{client}_webcam_authenticate_{light}_{take}.mov"
        for held, shown, light in product(("fixed", "hand"), SHOWN, LIGHTS):
            yield f"{part}/attack/{held}/attack_{shown.format(client)}_{light}.mov"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("replay_attack")
    plant(root, [name for part in PEOPLE for name in names(part)])
    plant(root, [f"enroll/{part}/client001_session01_webcam_enroll_adverse_1.mov" for part in PEOPLE])
    boxes = root / "face-locations" / "train" / "real"
    boxes.mkdir(parents=True)
    (boxes / "client001_session01_webcam_authenticate_adverse_1.face").write_text("0 118 67 117 117\n")
    return root


@pytest.fixture
def small(tmp_path):
    return plant(
        tmp_path, [next(each for each in names(p) if kind in each) for p in PEOPLE for kind in ("real", "att")]
    )


def test_whole_set_is_read_with_its_splits(whole):
    samples = read(whole)
    found = Counter((sample.split, sample.live) for sample in samples)
    assert [found[split, True] for split in ("train", "dev", "test")] == [60, 60, 80]
    assert [found[split, False] for split in ("train", "dev", "test")] == [300, 300, 400]
    assert Counter(sample.species for sample in samples) == {"live": 200, "print": 200, "replay": 800}
    instruments = Counter(sample.detail.split("_")[0] for sample in samples if not sample.live)
    assert instruments == {"print": 200, "mobile": 400, "highdef": 400}
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == 1200
    assert all((whole / sample.path).is_file() and sample.is_video for sample in samples)
    assert {sample.domain for sample in samples} == {"replay_attack"}
    people = {split: {s.subject for s in samples if s.split == split} for split in ("train", "dev", "test")}
    assert [len(found) for found in people.values()] == [15, 15, 20]


def test_enrolment_is_not_read(whole):
    assert not [sample for sample in read(whole) if "enroll" in sample.path]


@pytest.mark.parametrize(
    ("path", "species", "detail"),
    [
        ("real/client102_session01_webcam_authenticate_adverse_2", "live", ""),
        ("attack/hand/attack_print_client102_session01_highdef_photo_adverse", "print", "print_highdef_photo_hand"),
        ("attack/fixed/attack_mobile_client102_session01_mobile_video_adverse", "replay", "mobile_mobile_video_fixed"),
        (
            "attack/fixed/attack_highdef_client102_session01_highdef_photo_controlled",
            "replay",
            "highdef_highdef_photo_fixed",
        ),
    ],
)
def test_name_says_person_species_and_instrument(whole, path, species, detail):
    [sample] = [sample for sample in read(whole) if sample.path == f"test/{path}.mov"]
    assert (sample.live, sample.species, sample.detail) == (species == "live", species, detail)
    assert (sample.subject, sample.split) == ("102", "test")


def test_archives_own_top_folders_are_found(small):
    expected = [(sample.sequence, sample.split, sample.subject) for sample in read(small)]
    for part in PEOPLE:
        (small / f"replayattack-{part}").mkdir()
        (small / part).rename(small / f"replayattack-{part}" / part)
    samples = read(small)
    assert [(sample.sequence, sample.split, sample.subject) for sample in samples] == expected
    assert samples[0].path.startswith("replayattack-train/train/attack/fixed/")


def test_part_that_is_there_twice_is_refused(small):
    shutil.copytree(small / "devel", small / "replayattack-devel" / "devel")
    with pytest.raises(DataError, match=r"replayattack-devel/devel and .*/devel are both there"):
        read(small)


@pytest.mark.parametrize("folder", ["train", "devel", "test", "devel/real", "test/attack"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


@pytest.mark.parametrize(
    "file",
    [
        "real/client001_session01_webcam_authenticate_bright_1.mov",
        "real/client001_session01_webcam_authenticate_adverse_1.mp4",
        "real/attack_print_client001_session01_highdef_photo_adverse.mov",
        "attack/attack_print_client001_session01_highdef_photo_adverse.mov",
        "attack/hand/attack_mask_client001_session01_highdef_photo_adverse.mov",
    ],
)
def test_unknown_file_is_named(small, file):
    (small / "train" / file).parent.mkdir(parents=True, exist_ok=True)
    (small / "train" / file).touch()
    with pytest.raises(DataError, match=rf"train/{file}: unknown file"):
        read(small)


def test_protocol_is_refused(small):
    with pytest.raises(DataError, match="replay_attack has no protocols"):
        read(small, "grandtest")
