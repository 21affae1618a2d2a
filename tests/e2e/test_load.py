"""The load generator counts what a real service answers, and what it does not."""

import asyncio
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.load import differences, send_at_rate
from support.pictures import astronaut, encoded
from support.server import running_server

ROOT = Path(__file__).resolve().parents[2]
PHOTO = encoded(astronaut(), quality=95)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A service, and the processor time of each of its first requests."""
    with running_server(tmp_path_factory.mktemp("load"), start_s=300, max_inflight="1") as server:
        with server.client() as client:
            assert client.get("/health/ready").status_code == 200
            time.sleep(0.3)
            used = []
            for _ in range(12):
                before = server.processor_s()
                assert client.post("/v1/liveness", content=PHOTO).status_code == 200
                used.append(server.processor_s() - before)
        yield server, used


@pytest.mark.alone
def test_the_first_request_costs_what_later_ones_cost(fresh):
    """In processor time, which other work on the machine disturbs least; it was twice as much."""
    _, used = fresh
    assert used[0] < 1.5 * statistics.median(used[2:])


@pytest.mark.alone  # as the one above, for they share a service
def test_every_answer_is_counted_by_its_status(fresh):
    server, _ = fresh
    # At once: one is in work, others are refused.
    crowd = asyncio.run(send_at_rate(server.url, [PHOTO], rate=1000, seconds=0.01))
    assert crowd.sent == len(crowd.latencies_s) == 10
    assert crowd.statuses[200] == len(crowd.answers) > 0
    assert crowd.statuses[503] == crowd.codes["overloaded"] > 0
    assert crowd.statuses[200] + crowd.statuses[503] == 10
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "load.py", server.url, "--rate", "5", "--seconds", "1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    summary = json.loads(done.stdout)
    assert summary["sent"] == sum(summary["statuses"].values()) == 5
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["p99"]


@pytest.mark.slow  # test_photo.py has a quick one with ten photos
def test_requests_that_come_together_are_answered_as_if_each_were_alone(tmp_path):
    """The long form, 10,000 requests, is `benchmarks/under_load.py mixed`."""
    with running_server(tmp_path, start_s=300, deadline_ms="600000") as server:
        found = asyncio.run(differences(server.url, 60, together=12))
    assert (found.requests, found.different, found.first) == (60, 0, "")
    assert found.kinds > 30


def test_what_is_not_answered_is_a_failure():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening: nobody else gets the port, and connections are refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        outcome = asyncio.run(send_at_rate(url, [PHOTO], rate=20, seconds=0.25))
    assert outcome.failures == {"ConnectError": 5}
    assert outcome.sent == 5
    assert math.isnan(outcome.percentile_ms(0.5))
    assert outcome.summary()["latency_ms"] == {}
