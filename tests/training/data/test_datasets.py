from pathlib import Path

import pytest

from liveness_training.data.datasets import DATASETS, Source, parse_source
from liveness_training.data.samples import DataError
from support.videos import plant

HEADER = "path,domain,label,attack,subject,sequence"


def index(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").write_text("\n".join((HEADER, *rows)) + "\n")
    return folder


def casia(folder):
    return plant(folder, ["train_release/1/1.avi", "test_release/1/HR_4.avi"])


def test_the_sets_of_the_paper_and_the_index_can_be_read():
    assert set(DATASETS) == {
        "index",
        "oulu_npu",
        "casia_fasd",
        "replay_attack",
        "msu_mfsd",
        "siw",
        "replay_mobile",
    }


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("data/own", Source("index", Path("data/own"))),
        ("index=data/own", Source("index", Path("data/own"))),
        ("siw=/data/SiW", Source("siw", Path("/data/SiW"))),
        ("oulu_npu:3.2=/data/Oulu_NPU", Source("oulu_npu", Path("/data/Oulu_NPU"), "3.2")),
        ("siw=/data/a=b:c", Source("siw", Path("/data/a=b:c"))),
        ("./a=b", Source("index", Path("a=b"))),
        ("siw=~/SiW", Source("siw", Path.home() / "SiW")),
        ("~/own", Source("index", Path.home() / "own")),
    ],
)
def test_source_is_read_from_the_command_line(text, source):
    assert parse_source(text) == source
    assert parse_source(str(source)) == source


@pytest.mark.parametrize("text", ["oulu=/data/Oulu", "oulu:1=/data/Oulu", "=/data", "a=b"])
def test_unknown_name_is_refused_with_the_known_ones(text):
    with pytest.raises(DataError, match=r"no data set is named '.*', only index, oulu_npu, casia_fasd"):
        parse_source(text)


@pytest.mark.parametrize("text", ["siw=", "oulu_npu:=/data/Oulu", ""])
def test_empty_folder_or_protocol_is_refused(text):
    with pytest.raises(DataError, match="expected FOLDER, NAME=FOLDER or NAME:PROTOCOL=FOLDER"):
        parse_source(text)


def test_source_reads_its_data_set(tmp_path):
    samples = parse_source(f"casia_fasd={casia(tmp_path)}").read()
    assert [(sample.key, sample.split) for sample in samples] == [
        ("casia_fasd/train_release/1/1.avi", "train"),
        ("casia_fasd/test_release/1/HR_4.avi", "test"),
    ]


def test_index_keeps_its_own_domains(tmp_path):
    index(tmp_path, "1.jpg,office,live,live,alice,", "2.mp4,hall,spoof,replay,alice,")
    assert [(sample.domain, sample.is_video) for sample in Source("index", tmp_path).read()] == [
        ("office", False),
        ("hall", True),
    ]


def test_protocol_reaches_the_reader(tmp_path):
    with pytest.raises(DataError, match="casia_fasd has no protocols here, so '2'"):
        Source("casia_fasd", casia(tmp_path), "2").read()
    with pytest.raises(DataError, match="index has no protocols here, so '2'"):
        Source("index", index(tmp_path, "1.jpg,office,live,live,alice,"), "2").read()


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}/none does not exist"):
        Source("siw", tmp_path / "none").read()


def test_source_without_samples_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "empty", lambda root, protocol=None: [])
    with pytest.raises(DataError, match=rf"{tmp_path} holds no sample of empty"):
        Source("empty", tmp_path).read()


def test_file_that_is_read_twice_is_refused(tmp_path, monkeypatch):
    [once, *_] = Source("casia_fasd", casia(tmp_path)).read()
    monkeypatch.setitem(DATASETS, "twice", lambda root, protocol=None: [once, once])
    with pytest.raises(DataError, match=r"casia_fasd/.*\.avi is there twice"):
        Source("twice", tmp_path).read()


def test_videos_behind_links_are_read(tmp_path):
    """Large sets are often put together from several disks."""
    casia(tmp_path / "disk")
    (tmp_path / "set").mkdir()
    for part in ("train_release", "test_release"):
        (tmp_path / "set" / part).mkdir()
        (tmp_path / "set" / part / "1").symlink_to(tmp_path / "disk" / part / "1")
    assert len(Source("casia_fasd", tmp_path / "set").read()) == 2
