"""Starting and stopping, as an orchestrator does it."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import pytest

from support.pictures import astronaut, encoded
from support.server import running_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.alone
def test_what_was_accepted_is_answered_before_the_service_stops(tmp_path):
    with running_server(tmp_path, preparation_threads="1") as server:
        # Large, so that one thread is busy with eight of them for long enough to be stopped in the middle.
        content = encoded(cv2.resize(astronaut(), (3000, 3000)))

        def post(client: httpx.Client) -> int:
            with client:
                return client.post("/v1/liveness", content=content).status_code

        clients = [server.client() for _ in range(8)]  # made beforehand: that takes longer than a request
        with ThreadPoolExecutor(8) as pool, server.client() as client:
            answers = [pool.submit(post, each) for each in clients]
            # Stop once all are in: refusing what comes later would be right.
            while "liveness_inflight_requests 8.0" not in client.get("/metrics").text:
                assert not all(answer.done() for answer in answers)
                time.sleep(0.002)
            status = server.stop()
            assert [answer.result() for answer in answers] == [200] * 8
        assert status == 0
        assert server.log()[-1]["level"] == "info"


def test_a_port_that_is_taken_is_an_error_and_not_a_silent_exit(tmp_path):
    with running_server(tmp_path) as server:
        port = server.url.rsplit(":", 1)[1]
        again = subprocess.run(
            [server.process.args[0], "serve", "--port", port], capture_output=True, text=True, timeout=60
        )
    assert again.returncode != 0
    assert "address already in use" in again.stderr


def test_a_wrong_setting_is_named_before_anything_starts():
    command = Path(sys.executable).parent / "liveness"
    environment = os.environ | {"LIVENESS_MAX_INFLIGHT": "many"}
    done = subprocess.run([command, "serve"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "max_inflight" in done.stderr
    assert "Traceback" not in done.stderr
