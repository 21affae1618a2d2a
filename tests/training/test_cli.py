import csv

import pytest
from typer.testing import CliRunner

from liveness_training.cli import app
from support.pictures import astronaut, encoded, no_face


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for name, picture in (("face", astronaut()[:256, 100:356]), ("cup", no_face()[::4, ::4])):
        (folder / f"{name}.png").write_bytes(encoded(picture, "PNG"))
        rows.append([f"{name}.png", "office", "live", "live", name, ""])
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "domain", "label", "attack", "subject", "sequence"], *rows])
    return folder


def test_prepare_says_how_many_faces_it_found_and_where_it_found_none(data, tmp_path):
    result = CliRunner().invoke(
        app, ["prepare", str(data), "--cache", str(tmp_path / "cache"), "--workers", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "1 faces; in 1 pictures none was found" in result.output
    assert "office: none in 1" in result.output
    [folder] = (tmp_path / "cache").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["crops.npy", "found.json"]


def test_data_that_cannot_be_split_are_refused_before_anything_is_trained(data, tmp_path):
    arguments = [
        "train",
        str(data),
        "--run",
        str(tmp_path / "run"),
        "--cache",
        str(tmp_path / "cache"),
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: the training split lacks")
    assert not (tmp_path / "run" / "weights.pt").exists()


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "export"])
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
