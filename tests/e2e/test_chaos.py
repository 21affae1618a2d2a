"""What goes wrong under load, and what the service does then.

Each case takes a few seconds; `CHAOS_SECONDS=60 make test SLOW=1 PYTEST_ADDOPTS='-k chaos'` is the recorded long form.
A worker that is killed every second has its test in test_workers.py.
"""

import asyncio
import os
import signal
import sys
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from support import failing_encoder
from support.connections import eventually
from support.disks import fill, small_disk
from support.load import send_at_rate
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))
RATE = 6.0
PHOTOS = [encoded(astronaut(), "JPEG"), encoded(astronaut()[:256, 96:352], "PNG")]
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


async def under_load(server, disturb, seconds=SECONDS):
    """Send photos at a fixed rate while `disturb` runs; what the clients saw."""
    outcome, _ = await asyncio.gather(send_at_rate(server.url, PHOTOS, RATE, seconds), disturb())
    return outcome


async def get(server, path):
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        return await client.get(path)


def all_right(server):
    """Whether the service is ready and answers as if nothing had been."""
    with server.client() as client:
        ready = client.get("/health/ready").status_code
        return ready == 200 and client.post("/v1/liveness", content=PHOTOS[0]).json()["verdict"] == "live"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service, the folder of its audit log, and the file that makes its encoder raise."""
    folder = tmp_path_factory.mktemp("chaos")
    make_tiny_bundle(folder / "bundle", bias=5)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as disks:
        patch.setenv("FAILING", str(folder / "failing"))
        disk = folder / "disk"
        with suppress(pytest.skip.Exception):
            disks.enter_context(small_disk(disk, kib=256))
        with running_server(
            folder,
            command=(sys.executable, failing_encoder.__file__),
            bundle_path=str(folder / "bundle"),
            audit_log_path=str(disk / "audit.jsonl"),
            deadline_ms="10000",
        ) as server:
            yield server, disk, folder / "failing"


def test_chaos_of_a_full_audit_disk_gives_no_verdict_that_is_not_written(service):
    server, disk, _ = service
    if not disk.is_mount():
        pytest.skip("no file system may be mounted here")

    def written():
        return (disk / "audit.jsonl").read_text().count('"verdict",')

    async def disturb():
        await asyncio.sleep(SECONDS / 3)
        ballast = fill(disk)
        await asyncio.sleep(SECONDS / 3)
        assert (await get(server, "/health/ready")).json()["code"] == "audit_failed"
        ballast.unlink()

    assert all_right(server)
    before = written()
    outcome = asyncio.run(under_load(server, disturb))
    assert not outcome.failures
    assert set(outcome.statuses) <= {200, 503}
    assert set(outcome.codes) == {"audit_failed"}
    assert all_right(server)
    # The last verdict is the check's just above.
    assert written() - before == outcome.statuses[200] + 1


def test_chaos_of_a_stopped_process_ends_when_it_goes_on(service):
    server, _, _ = service

    async def disturb():
        await asyncio.sleep(SECONDS / 4)
        for pid in server.processes():
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(SECONDS / 4)
        for pid in server.processes():
            os.kill(pid, signal.SIGCONT)

    outcome = asyncio.run(under_load(server, disturb))
    # What was sent meanwhile lies in the kernel and is answered: in time, or with a refusal that says why.
    assert not outcome.failures
    assert set(outcome.statuses) <= {200, 503, 504}
    assert set(outcome.codes) <= {"overloaded", "deadline_exceeded"}
    assert outcome.statuses[200] > outcome.sent / 2
    assert all_right(server)


def test_chaos_of_a_clock_set_back_changes_no_answer(tmp_path, monkeypatch):
    if not FAKETIME.exists():
        pytest.skip("libfaketime is not installed (Debian's package faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    make_tiny_bundle(tmp_path / "bundle", bias=5)
    settings = {"bundle_path": str(tmp_path / "bundle"), "audit_log_path": str(tmp_path / "audit.jsonl")}
    # Enough room, and a deadline that is far off: how fast this machine is does not matter here.
    patient = {"max_inflight": "100", "deadline_ms": "60000", "workers": "1"}
    with running_server(tmp_path, rate_limit="1000/minute", **settings, **patient) as server:
        monkeypatch.delenv("LD_PRELOAD")

        async def disturb():
            await asyncio.sleep(SECONDS / 2)
            clock.write_text("-10d")

        outcome = asyncio.run(under_load(server, disturb))
        assert not outcome.failures
        assert set(outcome.statuses) == {200}, outcome.summary()
        assert all_right(server)
        # The clock of the service did go back.
        assert datetime.fromisoformat(server.log()[-1]["time"]) < datetime.now(UTC) - timedelta(days=9)


def test_chaos_of_an_encoder_that_raises_costs_only_what_it_was_to_score(service):
    server, _, failing = service

    async def failures():
        text = (await get(server, "/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if 'v1/liveness",status="503"' in line)

    async def disturb():
        ends_at = time.monotonic() + SECONDS
        while (left := ends_at - time.monotonic()) > 2:
            await asyncio.sleep(min(3, left / 4))
            before = await failures()
            failing.touch()
            while await failures() == before:  # noqa: ASYNC110 (it is another process that fails)
                await asyncio.sleep(0.02)
            assert (await get(server, "/health/live")).status_code == 200
            failing.unlink()
            await asyncio.sleep(1)

    outcome = asyncio.run(under_load(server, disturb, seconds=SECONDS + 4))
    assert not outcome.failures
    assert set(outcome.statuses) == {200, 503}
    # The provider is tried anew after such a fault; until then the model is not verified.
    assert set(outcome.codes) <= {"scoring_failed", "model_unavailable"}
    assert outcome.codes["scoring_failed"] > 0
    assert outcome.statuses[200] > outcome.sent / 3
    eventually(lambda: all_right(server))
