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


def trained(data, folder, *arguments):
    command = ["train", str(data), "--run", str(folder / "run"), "--cache", str(folder / "cache"), "--workers", "1"]
    return CliRunner().invoke(app, [*command, *arguments])


def test_prepare_says_how_many_faces_it_found_and_where_it_found_none(data, tmp_path):
    result = CliRunner().invoke(
        app, ["prepare", str(data), "--cache", str(tmp_path / "cache"), "--workers", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if line.startswith("office"))
    assert line.split() == ["office", "-", "live", "2", "1", "1", "(50.0", "%)"]
    assert "recordings without any face: 1" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "stepz=3"], "stepz"),
        (["--set", "steps=many"], "steps"),
        (["--set", "steps"], "FIELD=VALUE"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--hold-out", "street"], "street"),
    ],
)
def test_wrong_settings_are_told_by_name_and_nothing_is_trained(data, tmp_path, arguments, told):
    result = trained(data, tmp_path, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_unknown_data_set_is_told_with_those_that_there_are(tmp_path):
    result = CliRunner().invoke(app, ["prepare", "celeb_spoof=/data", "--cache", str(tmp_path)])
    assert result.exit_code == 2
    assert "celeb_spoof" in result.stderr
    assert "oulu_npu" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--table", "5"], "3 or 4"), (["--table", "3", "--row", "ResNet + GAN"], "ResNet + DIB")]
)
def test_unknown_table_or_row_of_the_paper_is_refused(data, tmp_path, arguments, told):
    result = CliRunner().invoke(app, ["ablate", str(data), "--runs", str(tmp_path / "runs"), *arguments])
    assert result.exit_code == 2
    assert told in result.stderr


def test_data_that_cannot_be_split_are_refused_before_anything_is_trained(data, tmp_path):
    result = trained(data, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: the training split lacks")
    assert not (tmp_path / "run" / "weights.pt").exists()


def test_the_papers_settings_without_imagenet_weights_are_warned_of(data, tmp_path):
    told = "warning: the paper's settings start from ImageNet weights (--init)"
    for config in ("paper", "paper_mean"):
        assert told in trained(data, tmp_path, "--config", config).stderr
    assert told not in trained(data, tmp_path).stderr


def test_one_view_takes_a_quarter_of_the_room_and_is_refused_where_others_are_read(data, tmp_path):
    def stored(cache):
        return sum(path.stat().st_size for path in (tmp_path / cache).rglob("crops.npy"))

    for cache, views in (("four", []), ("one", ["--views", "1"])):
        arguments = ["prepare", str(data), "--cache", str(tmp_path / cache), "--workers", "1", *views]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert stored("one") == pytest.approx(stored("four") / 4, rel=0.01)
    refused = trained(data, tmp_path, "--views", "1")
    assert refused.exit_code == 2
    assert "set service_view_share=1" in refused.stderr
    assert "--views 1 takes one part in 4" in trained(data, tmp_path, "--config", "paper").stderr


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "report", "features", "ablate", "export"])
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
