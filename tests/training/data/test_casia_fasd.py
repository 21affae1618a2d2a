import shutil
from collections import Counter

import pytest

from liveness_training.data.casia_fasd import read
from liveness_training.data.samples import DataError
from support.videos import plant

KINDS = [*map(str, range(1, 9)), *(f"HR_{number}" for number in range(1, 5))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("casia")
    for folder, people in (("train_release", 20), ("test_release", 30)):
        plant(root / folder, [f"{person}/{kind}.avi" for person in range(1, people + 1) for kind in KINDS])
    return root


@pytest.fixture
def small(tmp_path):
    return plant(tmp_path, ["train_release/1/1.avi", "test_release/1/1.avi"])


def test_whole_set_is_read_with_its_splits(whole):
    samples = read(whole)
    found = Counter((sample.split, sample.live) for sample in samples)
    assert found == {("train", True): 60, ("train", False): 180, ("test", True): 90, ("test", False): 270}
    assert Counter(sample.species for sample in samples) == {
        "live": 150,
        "warped_print": 150,
        "cut_print": 150,
        "replay": 150,
    }
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == 600
    assert all((whole / sample.path).is_file() and sample.is_video for sample in samples)
    assert {sample.domain for sample in samples} == {"casia_fasd"}


def test_test_ids_are_other_people_than_training_ids(whole):
    people = {split: {s.subject for s in read(whole) if s.split == split} for split in ("train", "test")}
    assert people == {"train": {str(n) for n in range(1, 21)}, "test": {str(n) for n in range(21, 51)}}
    by_path = {sample.path: sample for sample in read(whole)}
    assert by_path["test_release/7/3.avi"].subject == "27"


@pytest.mark.parametrize(
    ("kinds", "species"),
    [
        (("1", "2", "HR_1"), "live"),
        (("3", "4", "HR_2"), "warped_print"),
        (("5", "6", "HR_3"), "cut_print"),
        (("7", "8", "HR_4"), "replay"),
    ],
)
def test_number_says_species_and_quality(whole, kinds, species):
    by_path = {sample.path: sample for sample in read(whole)}
    found = [by_path[f"train_release/20/{kind}.avi"] for kind in kinds]
    assert {(sample.species, sample.live, sample.subject) for sample in found} == {(species, species == "live", "20")}
    expected = ["normal_quality", "low_quality", "high_quality"] if species != "live" else [""] * 3
    assert [sample.detail for sample in found] == expected


@pytest.mark.parametrize("folder", ["train_release", "test_release"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


@pytest.mark.parametrize("file", ["1/9.avi", "1/HR_5.avi", "1/1.mp4", "1/1/1.avi", "1.avi", "one/1.avi"])
def test_unknown_file_is_named(small, file):
    path = small / "test_release" / file
    path.parent.mkdir(parents=True, exist_ok=True) if not path.parent.exists() else None
    path.touch()
    with pytest.raises(DataError, match=rf"test_release/{file}: unknown file"):
        read(small)


@pytest.mark.parametrize(("folder", "number"), [("train_release", 21), ("test_release", 31), ("train_release", 0)])
def test_id_outside_the_set_is_named(small, folder, number):
    plant(small, [f"{folder}/{number}/1.avi"])
    with pytest.raises(DataError, match=rf"{folder}/{number}/1\.avi: .* not {number}"):
        read(small)


def test_protocol_is_refused(small):
    with pytest.raises(DataError, match="casia_fasd has no protocols"):
        read(small, "1")
