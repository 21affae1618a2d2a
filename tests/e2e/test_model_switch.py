"""Bundles change under load, in a real service over a real socket; `liveness models` does it, as an operator would."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from support.load import send_at_rate, send_in_turn
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

# The head alone and small: a face is found in it in some milliseconds, which leaves time for the changes.
HEAD = encoded(cv2.resize(astronaut()[40:200, 150:310], (96, 96), interpolation=cv2.INTER_AREA))
SCORES = {"1": 0.99, "2": 0.01}
"""What the versions make of it, about: an answer says which it is of, and must have that one's score."""


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("switch")
    make_tiny_bundle(folder / "store" / "one", bias=5, version="1")
    make_tiny_bundle(folder / "store" / "two", bias=-5, version="2")
    make_tiny_bundle(folder / "store" / "broken", bias=0, version="3")
    (folder / "store" / "broken" / "golden.npz").write_bytes(b"no golden cases")
    # On a busy machine answers take long; what is tested is that a change of bundles fails none.
    patient = {"deadline_ms": "120000", "workers": "1"}
    settings = {"models_url": str(folder / "store"), "active_model": "one", **patient}
    with running_server(folder, **settings) as started:
        yield started


async def models(server, *words, status=0):
    """Run `liveness models` against the server, in a thread of this process; what it printed."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["models", *words, "--url", server.url])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


async def models_as_a_process(server, *words):
    """Run `liveness models` against the server as an operator's shell does; what it printed."""
    command = [Path(sys.executable).parent / "liveness", "models", *words, "--url", server.url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.anyio
async def test_no_request_fails_while_bundles_change(server):
    before = await send_at_rate(server.url, [HEAD], 25, 0.2)
    assert before.answers, "no face is found in the picture of this test"
    done = asyncio.Event()
    load = asyncio.create_task(send_in_turn(server.url, HEAD, done, senders=2, pause_s=0.05))
    await asyncio.sleep(0.3)
    assert "active: tiny 2" in await models_as_a_process(server, "activate", "two")
    assert "active: tiny 1" in await models(server, "rollback")
    assert "shadow: tiny 2" in await models(server, "shadow", "two", "--share", "0.2")
    assert "golden.npz" in await models(server, "activate", "broken", status=1)
    await models(server, "canary", "two", "--share", "0.3")
    await models(server, "activate", "two")
    await models(server, "shadow", "--off")
    await asyncio.sleep(0.3)
    done.set()
    outcome = await load
    after = await send_at_rate(server.url, [HEAD], 25, 0.2)

    assert not outcome.failures
    assert set(outcome.statuses) == {200}
    assert {answer["model"]["version"] for answer in before.answers} == {"1"}
    assert {answer["model"]["version"] for answer in outcome.answers} == {"1", "2"}
    assert {answer["model"]["version"] for answer in after.answers} == {"2"}
    for answer in outcome.answers:
        assert answer["score"] == pytest.approx(SCORES[answer["model"]["version"]], abs=0.05)
    with server.client() as client:
        text = client.get("/metrics").text
    assert 'liveness_requests_total{endpoint="/v1/liveness",status="200"} ' + f"{outcome.sent + 10}.0" in text
    assert 'liveness_model_info{name="tiny",precision="fp32",provider="cpu",role="active",version="2"} 1.0' in text
    listed = await models(server, "list")
    assert "active    two: tiny 2" in listed
    assert "previous  one: tiny 1" in listed


def test_verify_says_what_is_wrong(server):
    store = Path(server.log_file).parent / "store"
    good, bad = (CliRunner().invoke(app, ["models", "verify", str(store / name)]) for name in ("one", "broken"))
    assert good.exit_code == 0
    assert "tiny 1 (fp32), sha256 " in good.stdout
    assert bad.exit_code == 1
    assert "golden.npz: SHA-256" in bad.stderr


def test_without_a_service_the_command_says_what_to_check():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening: nobody else gets the port, and connections are refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        done = CliRunner().invoke(app, ["models", "list", "--url", url])
    assert done.exit_code == 2
    assert "check --url" in done.stderr
    assert "Traceback" not in done.stderr
