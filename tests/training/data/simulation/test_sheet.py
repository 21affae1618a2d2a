import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from liveness_training.cli import app
from liveness_training.data.simulation.sheet import contact_sheet
from support.pictures import astronaut, encoded, no_face

HEADER = "path,domain,label,attack,subject,sequence\n"


def test_a_row_is_the_live_picture_and_its_attacks():
    crops = [np.full((32, 32, 3), level, np.uint8) for level in (90, 200)]
    sheet = contact_sheet(crops, seed=1, columns=2)
    assert sheet.shape == (2 * 40, 5 * 40, 3)
    np.testing.assert_array_equal(sheet[4:36, 4:36], crops[0])
    np.testing.assert_array_equal(sheet[44:76, 4:36], crops[1])
    np.testing.assert_array_equal(sheet, contact_sheet(crops, seed=1, columns=2))
    assert (sheet != contact_sheet(crops, seed=2, columns=2)).any()


@pytest.fixture
def data(tmp_path):
    rows = []
    for name, picture in {"anna": astronaut(), "cup": no_face()}.items():
        (tmp_path / f"{name}.png").write_bytes(encoded(picture, "PNG"))
        rows.append(f"{name}.png,office,live,live,{name},\n")
    (tmp_path / "index.csv").write_text(HEADER + "".join(rows))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_the_command_writes_a_sheet_of_those_with_a_face(data, tmp_path):
    result = run(data, "--out", tmp_path / "sheet.png", "--size", 64, "--columns", 3)
    assert result.exit_code == 0, result.output
    assert "1 people" in result.output
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (72, 7 * 72, 3)


def test_a_sheet_that_cannot_be_made_says_why(data, tmp_path):
    result = run(data, "--out", tmp_path / "nowhere" / "sheet.png")
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    (data / "index.csv").write_text(HEADER + "cup.png,office,live,live,cup,\n")
    result = run(data, "--out", tmp_path / "sheet.png")
    assert result.exit_code == 2
    assert "no live picture with a face" in result.output
