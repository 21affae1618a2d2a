"""Starting, stopping and replacing the service, as an orchestrator does it; no request fails."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from support.connections import connected, read_one, request
from support.load import send_at_rate
from support.pictures import astronaut, encoded
from support.server import port_in_log, running_server
from support.tiny_bundle import make_tiny_bundle

LIVENESS = Path(sys.executable).parent / "liveness"
PHOTO = encoded(astronaut(), quality=95)
RATE = 8
ONE = {"workers": "1"}
"""Enough where what a service starts and stops is not a matter of how many there are; each takes time to start."""


def test_what_was_accepted_is_answered_before_the_service_stops(tmp_path):
    make_tiny_bundle(tmp_path / "bundle")
    settings = {"bundle_path": str(tmp_path / "bundle"), "deadline_ms": "60000"} | ONE
    # The first one is large: it keeps the worker for long enough to be stopped while seven more wait for it.
    large = encoded(np.tile(astronaut(), (8, 8, 1)))
    with running_server(tmp_path, **settings) as server:

        def post(client: httpx.Client, content: bytes) -> int:
            with client:
                return client.post("/v1/liveness", content=content).status_code

        clients = [server.client() for _ in range(8)]  # made beforehand: that takes longer than a request
        with ThreadPoolExecutor(8) as pool, server.client() as client:
            answers: list[Future[int]] = []

            def wait_for(accepted: int) -> None:
                while f"liveness_inflight_requests {accepted}.0" not in client.get("/metrics").text:
                    assert not any(answer.done() for answer in answers)
                    time.sleep(0.002)

            answers.append(pool.submit(post, clients[0], large))
            wait_for(1)
            answers += [pool.submit(post, each, PHOTO) for each in clients[1:]]
            # Stop once all are in: refusing what comes later would be right.
            wait_for(8)
            status = server.stop()
            assert [answer.result() for answer in answers] == [200] * 8
        assert status == 0
        assert server.log()[-1]["level"] == "info"


def test_a_stop_is_announced_before_it_happens_and_waits_for_no_upload_that_never_ends(tmp_path):
    make_tiny_bundle(tmp_path / "bundle")
    settings = {
        "bundle_path": str(tmp_path / "bundle"),
        "workers": "0",
        "shutdown_delay_ms": "4000",
        "shutdown_grace_ms": "1000",
        "min_upload_rate": "0",
    }
    go_on = threading.Event()

    def slowly():
        yield PHOTO[:100]
        go_on.wait(60)
        yield PHOTO[100:]

    with ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path, **settings))
        sender, used, late = (stack.enter_context(server.client()) for _ in range(3))
        endless, half = (stack.enter_context(connected(server)) for _ in range(2))
        half.sendall(b"GET /health")
        endless.sendall(request("/v1/liveness", "POST", Host="x", Content_Length=1000))
        upload = stack.enter_context(ThreadPoolExecutor(1)).submit(sender.post, "/v1/liveness", content=slowly())
        stack.callback(go_on.set)
        assert used.get("/health/ready").status_code == 200
        while "liveness_uploads 2.0" not in (metrics := used.get("/metrics")).text:
            time.sleep(0.01)
        assert "connection" not in metrics.headers
        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        # Balancers are told, and who asks nevertheless has an answer and must come back elsewhere.
        while (refused := late.get("/health/ready")).status_code == 200:
            time.sleep(0.01)
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        answer = used.post("/v1/liveness", content=PHOTO)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert late.get("/health/live").headers["connection"] == "close"
        go_on.set()
        assert (upload.result().status_code, upload.result().headers["connection"]) == (200, "close")
        assert server.process.wait(60) == 0
        assert 3.9 < time.monotonic() - told < 4 + 10
        assert read_one(endless)[0] == 503
        assert not [entry for entry in server.log() if "exception" in entry]


STUCK = """
import time
from liveness_service import cli
from liveness_service.http import serve
from liveness_service.service import LivenessService

async def never(_service):
    time.sleep(600)

serve._SPARE_S = 0.5
LivenessService.close = never
cli.app(["serve"])
"""


def test_a_stop_that_hangs_is_ended_and_the_log_says_where(tmp_path):
    make_tiny_bundle(tmp_path / "bundle")
    settings = {
        "BUNDLE_PATH": str(tmp_path / "bundle"),
        "PORT": "0",
        "SHUTDOWN_DELAY_MS": "0",
        "SHUTDOWN_GRACE_MS": "0",
        "WORKERS": "0",
    }
    environment = os.environ | {f"LIVENESS_{name}": value for name, value in settings.items()}
    log_file = tmp_path / "service.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", STUCK], env=environment, stdout=log, stderr=log)
    try:
        port_in_log(process, log_file)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert "in never" in log_file.read_text()


@pytest.mark.slow  # tests/service/test_cli.py asks without a process, also the next one
def test_a_port_that_is_taken_is_an_error_and_not_a_silent_exit():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [LIVENESS, "serve", "--port", str(taken.getsockname()[1])]
        again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.returncode != 0
    assert "address already in use" in again.stderr


@pytest.mark.slow
def test_a_wrong_setting_is_named_before_anything_starts():
    environment = os.environ | {"LIVENESS_MAX_INFLIGHT": "many"}
    done = subprocess.run([LIVENESS, "serve"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "LIVENESS_MAX_INFLIGHT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side sees the end of its stream
    finally:
        writer.close()


@asynccontextmanager
async def balancer(ready):
    """Give each new connection to the last server of the list; its URL."""

    async def connected(reader, writer):
        port = int(ready[-1].url.rsplit(":", 1)[1])
        from_service, to_service = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, to_service), copy(from_service, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.anyio
async def test_no_request_fails_while_another_model_takes_over(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        make_tiny_bundle(folder / "bundle", version=folder.name)
    # How fast this machine is does not matter here.
    patient = {"max_inflight": "500", "deadline_ms": "60000", "workers": "0"}
    with (
        running_server(first, bundle_path=str(first / "bundle"), **patient) as old,
        running_server(second, bundle_path=str(second / "bundle"), **patient) as new,
    ):
        ready = [old]
        async with balancer(ready) as url:
            load = asyncio.create_task(send_at_rate(url, [PHOTO], RATE, seconds=5))
            await asyncio.sleep(2)
            ready.append(new)
            await asyncio.sleep(0.5)  # preStop: connections that are kept alive still lead to the old one
            assert await asyncio.to_thread(old.stop) == 0
            outcome = await load
    assert not outcome.failures
    assert outcome.statuses == {200: RATE * 5}
    versions = [answer["model"]["version"] for answer in outcome.answers]
    assert set(versions) == {"1", "2"}
    assert versions[-1] == "2"
