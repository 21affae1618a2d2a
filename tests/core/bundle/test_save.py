import hashlib
import stat

import pytest
from pydantic import ValidationError

from liveness_core.bundle import Manifest, load_bundle, save_bundle
from support.tiny_bundle import make_tiny_bundle


class FullDisk(dict):
    """Files that can all be read for hashing, but of which the second cannot be read again for writing."""

    reads = 0

    def items(self):
        self.reads += 1
        for number, item in enumerate(super().items()):
            if self.reads > 1 and number == 1:
                raise OSError("no space left on device")
            yield item


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "bundle.json"}


def content_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_saved_bundle_is_complete_and_its_hashes_are_right(tmp_path):
    manifest = make_tiny_bundle(tmp_path / "models" / "tiny")  # its parent is made too
    files = files_of(tmp_path / "models" / "tiny")
    assert manifest.files == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert manifest.manifest_sha256 == manifest.digest()
    assert Manifest.model_validate_json((tmp_path / "models" / "tiny" / "bundle.json").read_text()) == manifest


def test_saving_leaves_nothing_else_behind(tmp_path):
    make_tiny_bundle(tmp_path / "tiny")
    make_tiny_bundle(tmp_path / "tiny", bias=1.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny"]
    assert sorted(content_of(tmp_path / "tiny")) == ["bundle.json", "classifier.onnx", "encoder.onnx", "golden.npz"]


def test_bundle_is_replaced_whole(tmp_path):
    old = make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "tiny" / "stray.txt").write_text("of the old bundle")
    new = make_tiny_bundle(tmp_path / "tiny", bias=1.0)
    assert not (tmp_path / "tiny" / "stray.txt").exists()
    assert new.files["classifier.onnx"] != old.files["classifier.onnx"]
    assert load_bundle(tmp_path / "tiny").manifest == new


@pytest.mark.parametrize("there_before", [False, True])
def test_error_midway_leaves_what_was_there_and_nothing_else(tmp_path, there_before):
    manifest = make_tiny_bundle(tmp_path / "source")
    if there_before:
        make_tiny_bundle(tmp_path / "out" / "tiny", bias=1.0)
        before = content_of(tmp_path / "out" / "tiny")
    with pytest.raises(OSError, match="no space left"):
        save_bundle(tmp_path / "out" / "tiny", manifest, FullDisk(files_of(tmp_path / "source")))
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == (["tiny"] if there_before else [])
    if there_before:
        assert content_of(tmp_path / "out" / "tiny") == before


def test_bundle_without_a_file_that_its_manifest_names_is_not_written(tmp_path):
    manifest = make_tiny_bundle(tmp_path / "source")
    files = files_of(tmp_path / "source")
    del files["encoder.onnx"]
    with pytest.raises(ValidationError, match=r"no hash for encoder\.onnx"):
        save_bundle(tmp_path / "tiny", manifest, files)
    assert not (tmp_path / "tiny").exists()


def test_file_outside_the_bundle_is_not_written(tmp_path):
    manifest = make_tiny_bundle(tmp_path / "source")
    with pytest.raises(ValidationError, match="files"):
        save_bundle(tmp_path / "tiny", manifest, {**files_of(tmp_path / "source"), "../stray.txt": b"x"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_further_files_are_kept_and_hashed(tmp_path):
    manifest = make_tiny_bundle(tmp_path / "source")
    files = {**files_of(tmp_path / "source"), "MODEL_CARD.md": b"# Tiny\n"}
    saved = save_bundle(tmp_path / "tiny", manifest, files)
    assert (tmp_path / "tiny" / "MODEL_CARD.md").read_bytes() == b"# Tiny\n"
    assert saved.files["MODEL_CARD.md"] == hashlib.sha256(b"# Tiny\n").hexdigest()


def test_another_user_can_read_it(tmp_path):
    make_tiny_bundle(tmp_path / "tiny")
    assert stat.S_IMODE((tmp_path / "tiny").stat().st_mode) == 0o755


def test_relative_path_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tiny_bundle((tmp_path / "tiny").relative_to(tmp_path))
    assert load_bundle(tmp_path / "tiny").manifest.name == "tiny"
