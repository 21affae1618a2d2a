"""The commands of docs/training.md, as they stand there, take a user's own pictures and videos to a served bundle."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from liveness_training.cli import app
from liveness_training.models.network import create_encoder
from support.networks import operators_read_once
from support.pictures import astronaut, encoded
from support.server import running_server
from support.videos import write_video

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
# The page trains for minutes; what it shows is the same after three iterations of a few small pictures each.
SHORTER = {"steps=500": "steps=3 --set images_per_domain=4", "--cache cache": "--cache cache --size 64"}


def commands():
    """The shell lines of the page's first section."""
    section = PAGE.read_text().split("\n## ")[1]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = [line for block in blocks for line in block.strip().splitlines()]
    # Packages are installed already, and tests/training/models/test_published.py fetches weights to start from.
    assert lines[0].startswith("pip install ")
    assert lines[2].startswith("liveness-train fetch-init ")
    return [lines[1], *lines[3:]]


def looks(species, random):
    """The astronaut as another camera and place show her; a print is soft, pale and reddish."""
    side = int(random.integers(200, 240))
    left, top = (int(value) for value in random.integers((90, 0), (140, 30)))
    picture = cv2.resize(astronaut()[top : top + side, left : left + side], (192, 192)).astype(np.float32)
    picture = picture * random.uniform(0.8, 1.1) + random.uniform(-10, 10)
    if species == "print":
        picture = cv2.GaussianBlur(picture, (0, 0), 1.5) * 0.6 + (90, 70, 60)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the page takes for granted: data, weights to start from, a photo."""
    folder = tmp_path_factory.mktemp("user")
    rows, random = [], np.random.default_rng(0)
    for domain in ("office", "hall"):
        for number in range(14):
            person = f"person{number}"
            for species in ("live", "print"):
                name = f"{domain}-{person}-{species}"
                if number % 5 == 0:
                    path = f"{name}.mp4"
                    picture = looks(species, random)
                    write_video(folder / "data" / path, [np.roll(picture, shift, axis=1) for shift in range(10)])
                else:
                    path = f"{name}.jpg"
                    (folder / "data").mkdir(exist_ok=True)
                    (folder / "data" / path).write_bytes(encoded(looks(species, random), "JPEG"))
                label = "live" if species == "live" else "spoof"
                rows.append([path, domain, label, species, person, ""])
    with (folder / "data" / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "domain", "label", "attack", "subject", "sequence"], *rows])
    torch.manual_seed(0)
    torch.save(create_encoder("efficientnet_lite0").state_dict(), folder / "lite0.pth")
    (folder / "photo.jpg").write_bytes(encoded(astronaut(), "JPEG"))
    return folder


def shortened(line):
    for long, short in SHORTER.items():
        line = line.replace(long, short)
    return line


def run(line):
    """Run a line of `liveness-train` in this process, where PyTorch is loaded already: its exit status and output."""
    program, *arguments = shlex.split(line)
    assert program == "liveness-train"
    done = CliRunner().invoke(app, arguments)
    told = "".join(traceback.format_exception(done.exception)) if done.exception else ""
    return done.exit_code, done.output + told


def run_in_shell(line, folder):
    """Run a line as the reader of the page does: its exit status and output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    command = ["bash", "-c", line]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_page_leads_from_pictures_to_a_served_bundle(place, monkeypatch):
    monkeypatch.chdir(place)
    lines = [shortened(line) for line in commands()]
    assert [line.split()[1] for line in lines if line.startswith("liveness-train")] == [
        "prepare",
        "train",
        "train",
        "report",
        "export",
    ]
    prepare, *others, score, serve = lines
    # One command of each program in a shell; the others would only load PyTorch again.
    with operators_read_once():
        for line in (prepare, *others, score):
            status, output = run_in_shell(line, place) if line in (prepare, score) else run(line)
            # `score` exits with 1 where the photo is not live, and three iterations teach nothing.
            assert status in ((0, 1) if line == score else (0,)), f"{line}\n{output}"
    page = (place / "runs/mine/report.html").read_text()
    assert "HTER" in page
    manifest = json.loads((place / "models/mine/bundle.json").read_text())
    assert "office: our own, with consent" in manifest["provenance"]["data"]
    assert "held_out/office" in manifest["metrics"]

    assert serve == "LIVENESS_BUNDLE_PATH=models/mine liveness serve --port 8000"
    with running_server(place, bundle_path="models/mine", workers="1") as server, server.client() as client:
        answer = client.post("/v1/liveness", files={"image": (place / "photo.jpg").read_bytes()})
    assert answer.status_code == 200
    assert answer.json()["model"] == {"name": "mine", "version": "1"}
    assert 0 <= answer.json()["score"] <= 1
