"""The page in a real Firefox, with a real service. What is alike everywhere is asked of Chromium (`test_page.py`)."""

import json
import shutil
from pathlib import Path

import pytest

from support.browser import MODULES, as_files, node, swaying
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

SCRIPT = Path(__file__).with_name("firefox.mjs")


@pytest.mark.slow
def test_firefox_takes_photos_and_clips_and_shows_the_frames_that_were_judged(tmp_path):
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None or not (MODULES / "puppeteer-core").exists():
        pytest.skip("needs firefox, and `npm ci` in clients/web")
    frames = tmp_path / "frames.json"
    frames.write_text(json.dumps(as_files(swaying())))
    make_tiny_bundle(tmp_path / "tiny", bias=5, temporal=True)
    with running_server(tmp_path, bundle_path=str(tmp_path / "tiny"), workers="0") as server:
        # By standard input, so that its imports are looked for in clients/web.
        printed = node("--input-type=module", "-", server.url, program, frames, input=SCRIPT.read_text())
    seen = json.loads(printed)
    assert seen["told"] == []
    assert seen["sample"] == seen["photo"] == "Live"
    # A busy machine records few frames, so that there may be no verdict, but never an error.
    assert seen["answer"]["verdict"] in ("live", "undetermined")
    # Firefox does not seek in what it has recorded. Each thumbnail shows its frame all the same.
    times = [frame["time_s"] for frame in seen["answer"]["frames"]]
    assert len(seen["shown_s"]) == len(times) >= 4
    started = [(shown - time) % 16 for shown, time in zip(seen["shown_s"], times, strict=True)]
    assert max(started) - min(started) < 0.5, (seen["shown_s"], times)
