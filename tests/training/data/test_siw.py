import shutil
from collections import Counter
from itertools import product

import pytest

from liveness_training.data.samples import DataError
from liveness_training.data.siw import read
from support.videos import plant

PEOPLE = {"Train": range(1, 91), "Test": range(91, 166)}


def names(part, person, mark=""):
    """The 8 live and the 20 attacks that a person has at most."""
    stem = f"{part}/{{}}/{person:03d}/{person:03d}-{{}}-{{}}-{{}}-{{}}"
    for sensor, medium, session in product((1, 2), (1, 2), (1, 2)):
        yield f"{stem.format('live', sensor, 1, medium, session)}{mark if sensor == 2 else ''}.mov"
    for medium, session in product((1, 2), (1, 2)):
        yield f"{stem.format('spoof', 1, 2, medium, session)}.mov"
    for sensor, medium, session in product((1, 2), (1, 2, 3, 4), (1, 2)):
        yield f"{stem.format('spoof', sensor, 3, medium, session)}.mov"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("siw")
    # The last people's names of one camera have .m in them, as in the set.
    plant(root / "SiW_release", [n for p in PEOPLE for s in PEOPLE[p] for n in names(p, s, ".m" if s > 160 else "")])
    (root / "SiW_release/Train/live/001/001-1-1-1-1.face").write_text("785 425 1070 710\n0 0 0 0\n")
    return root


@pytest.fixture
def small(tmp_path):
    return plant(
        tmp_path,
        [
            next(n for n in names(p, s) if kind in n)
            for p, s in (("Train", 3), ("Test", 1))
            for kind in ("live", "spoof")
        ],
    )


def test_people_are_read_with_their_splits(whole):
    samples = read(whole)
    found = Counter((sample.split, sample.species) for sample in samples)
    assert found == {
        ("train", "live"): 90 * 8,
        ("train", "print"): 90 * 4,
        ("train", "replay"): 90 * 16,
        ("test", "live"): 75 * 8,
        ("test", "print"): 75 * 4,
        ("test", "replay"): 75 * 16,
    }
    assert all(sample.live == (sample.species == "live") for sample in samples)
    assert len({sample.subject for sample in samples}) == 165
    assert len({sample.recording for sample in samples}) == len({sample.key for sample in samples}) == len(samples)
    assert all((whole / sample.path).is_file() and sample.is_video for sample in samples)
    assert {sample.domain for sample in samples} == {"siw"}


def test_folder_of_the_release_itself_will_do(whole):
    inner = read(whole / "SiW_release")
    assert [f"SiW_release/{sample.path}" for sample in inner] == [sample.path for sample in read(whole)]


@pytest.mark.parametrize(
    ("path", "species", "detail"),
    [
        ("Test/live/165/165-2-1-2-1.m.mov", "live", ""),
        ("Test/spoof/165/165-1-2-2-1.mov", "print", "medium2"),
        ("Test/spoof/165/165-2-3-4-1.mov", "replay", "medium4"),
    ],
)
def test_name_says_person_species_and_medium(whole, path, species, detail):
    [sample] = [sample for sample in read(whole) if sample.path == f"SiW_release/{path}"]
    assert (sample.species, sample.detail, sample.subject, sample.split) == (species, detail, "165", "test")


@pytest.mark.parametrize("folder", ["Train", "Test", "Train/live", "Test/spoof"])
def test_missing_folder_is_named(small, folder):
    shutil.rmtree(small / folder)
    with pytest.raises(DataError, match=rf"{small}/{folder} does not exist"):
        read(small)


@pytest.mark.parametrize(
    "file", ["live/003/003-1-4-1-1.mov", "live/003/003-1-1-1.mov", "live/003-1-1-1-1.mov", "live/003/x.mov"]
)
def test_unknown_file_is_named(small, file):
    (small / "Train" / file).touch()
    with pytest.raises(DataError, match=rf"Train/{file}: unknown file"):
        read(small)


@pytest.mark.parametrize("file", ["live/003/003-1-3-1-1.mov", "spoof/003/003-1-1-1-1.mov", "live/003/004-1-1-1-1.mov"])
def test_video_in_a_folder_where_its_name_does_not_belong_is_named(small, file):
    plant(small, [f"Train/{file}"])
    with pytest.raises(DataError, match=rf"Train/{file}: the name says"):
        read(small)


def test_protocol_is_refused(small):
    with pytest.raises(DataError, match="siw has no protocols here"):
        read(small, "1")
