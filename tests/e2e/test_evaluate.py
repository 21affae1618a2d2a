"""`make evaluate`'s script, as a user runs it on labelled pictures of their own."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.pictures import astronaut, no_face

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two live pictures, two attacks and an attack without a face, all of people for reporting."""
    folder = tmp_path_factory.mktemp("data")
    dull = cv2.GaussianBlur(astronaut(), (0, 0), 1) // 2 + 90
    pictures = {
        "live1": astronaut(),
        "live2": np.ascontiguousarray(astronaut()[:, ::-1]),
        "print1": dull,
        "print2": np.ascontiguousarray(dull[:, ::-1]),
        "print3": no_face(),
    }
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "domain", "label", "attack", "subject", "sequence", "split"])
        for name, picture in pictures.items():
            cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
            live = name.startswith("live")
            row = [f"{name}.png", "office", "live" if live else "spoof", "live" if live else "print", name, "", "test"]
            rows.writerow(row)
    return folder


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, str(ROOT / "recipes" / "default" / "evaluate.py"), str(data), "--out", str(out)]
    command += ["--held-out", f"office={ROOT / 'models' / 'default'}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout, json.loads((out / "figures.json").read_text()), out


def test_what_has_no_face_is_a_non_response_and_never_right(result):
    _, report, _ = result
    assert set(report) == {"unseen people/office", "unseen domain/office"}
    for values in report.values():
        assert values["presentations"] == 5
        assert values["found"] == pytest.approx(4 / 5)
        assert values["found_attacks"] == pytest.approx(2 / 3)
        assert values["apnrr"] >= 1 / 3
        assert values["bpnrr"] == 0
        assert values["refused/no_face"] == pytest.approx(1 / 5)


def test_rates_are_given_at_every_operating_point_of_the_bundle(result):
    printed, report, _ = result
    manifest = json.loads((ROOT / "models" / "default" / "bundle.json").read_text())
    for point in manifest["operating_points"]:
        assert 0 <= report["unseen people/office"][f"apcer@{point}"] <= 1
        assert 0 <= report["unseen people/office"][f"bpcer@{point}"] <= 1
    assert "| unseen people/office | 5 | 80.0 |" in printed


def test_every_answer_can_be_looked_at(result, data):
    _, _, out = result
    with (out / "answers.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["data"] == "unseen people/office"]
    assert {row["path"] for row in rows} == {path.name for path in data.glob("*.png")}
    [faceless] = [row for row in rows if row["path"] == "print3.png"]
    assert (faceless["verdict"], faceless["score"], faceless["reasons"]) == ("undetermined", "", "no_face")
