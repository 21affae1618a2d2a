"""What a worker may take of memory: what its upload promises, and little more."""

import asyncio
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from liveness_service.decoding.promise import NotNowError
from liveness_service.errors import DecoderFailedError, UnsupportedMediaError
from liveness_service.submission import Endpoint
from liveness_service.workers import child
from liveness_service.workers.limits import OwnMemory
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MEMORY_OF_ANY_JOB, Task
from support.pools import SPEC

MOST = 700 << 20
"""What a worker may take in all; one for all tests, which share a fork server with it."""


@pytest.mark.anyio
async def test_an_upload_gets_the_memory_that_its_header_promises_and_little_more(started):
    made = await started(memory_bytes=MOST, deadline_s=60.0)
    for promised in (300, 0, 100):
        with pytest.raises(UnsupportedMediaError):  # it has the memory, and finds that this is no picture
            await made.prepare(b"promise %d %d" % (promised, promised + 110))
        # glibc keeps up to 8 MiB of free memory, which the worker had before and may use on top (`process.py`).
        with pytest.raises(DecoderFailedError, match="memory"):
            await made.prepare(b"promise %d %d" % (promised, promised + 128 + 8 + 1))
    assert made.ends == []


@pytest.mark.anyio
async def test_no_promise_gets_more_than_a_worker_may_take(started):
    made = await started(memory_bytes=MOST, deadline_s=60.0)
    with pytest.raises(UnsupportedMediaError):
        await made.prepare(b"promise 700 1")
    for order in (b"promise 701 1", b"promise 700 701"):
        with pytest.raises(DecoderFailedError, match="memory"):
            await made.prepare(order)
    assert made.ends == []


@pytest.mark.slow  # tests/e2e/test_workers.py asks it of a real service
@pytest.mark.anyio
async def test_memory_that_the_kernel_does_not_bound_is_seen_by_the_service(started):
    made = await started(memory_bytes=MOST, deadline_s=60.0)
    with pytest.raises(UnsupportedMediaError):
        await made.prepare(b"mapped 200 0.3")
    with pytest.raises(DecoderFailedError, match="memory"):
        await made.prepare(b"mapped 280 1000")  # any photo's 128 MB, and what 128 MB of promises may take at once
    assert made.ends == ["memory"]


@pytest.mark.anyio
async def test_photos_that_promise_much_wait_for_each_other_and_not_the_others(started):
    made = await started(size=2, memory_bytes=MOST, deadline_s=60.0)
    large = [asyncio.create_task(made.prepare(b"promise 129 1 0.6")) for _ in range(2)]
    small = [asyncio.create_task(made.prepare(b"promise 128 1 0")) for _ in range(2)]
    began = time.monotonic()
    assert all(
        isinstance(error, UnsupportedMediaError) for error in await asyncio.gather(*small, return_exceptions=True)
    )
    assert not all(task.done() for task in large)
    assert all(
        isinstance(error, UnsupportedMediaError) for error in await asyncio.gather(*large, return_exceptions=True)
    )
    assert time.monotonic() - began > 1.2


def allowed(endpoint, memory_bytes, promised):
    """What a worker lets itself take, beside what it has and what any upload may take."""
    bounds = []

    class Memory:
        allocated_bytes, bound = staticmethod(lambda: 1_000), staticmethod(bounds.append)

    child._Bound(Task(spec=SPEC, endpoint=endpoint, cpu_s=1, memory_bytes=memory_bytes), Memory())(promised)
    return [bound - 1_000 - MEMORY_OF_ANY_JOB for bound in bounds]


def test_a_photo_is_given_its_promise_and_a_clip_the_most_until_its_header_is_read():
    assert allowed(Endpoint.PHOTO, 500, 500) == [0, 500]
    with pytest.raises(NotNowError) as raised:
        allowed(Endpoint.PHOTO, 500, 501)
    assert raised.value.memory_bytes == 501
    assert allowed(Endpoint.CLIP, 500, 499) == [500, 499]
    assert allowed(Endpoint.CLIP, 500, 501) == [500, 500]


def resident_mb():
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def test_the_bound_on_memory_is_exact():
    # Measured twice: on Python 3.13 the first time counts 8 kB that the interpreter gives back afterwards.
    code = (
        "import mmap; from liveness_service.workers.limits import OwnMemory;"
        "own, size = OwnMemory(), 1 << 24; own.allocated_bytes(); own.bound(own.allocated_bytes() + size);"
        "private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS;"
        "mmap.mmap(-1, size, private).close(); print('as much');"
        "mmap.mmap(-1, size + mmap.PAGESIZE, private)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "as much\n"
    assert "Cannot allocate memory" in done.stderr


def test_holes_in_the_heap_are_given_back():
    blocks = [bytearray(16_000) for _ in range(4_000)]
    del blocks[1::2], blocks[1::2]  # a quarter of them keeps the others' place
    before = resident_mb()
    OwnMemory().give_back()
    assert before - resident_mb() > 30
    assert len(blocks) == 1_000


@pytest.mark.parametrize(("endpoint", "given_back"), [(Endpoint.PHOTO, 0), (Endpoint.CLIP, 1)])
def test_memory_is_given_back_after_a_clip_and_not_after_an_ordinary_photo(endpoint, given_back, monkeypatch):
    memory = Mock(allocated_bytes=lambda: 0)
    monkeypatch.setattr(child, "bound_processor_time", lambda _seconds: None)
    service, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    task = Task(spec=SPEC, endpoint=endpoint, cpu_s=1, memory_bytes=100 << 20)
    with service, worker, SharedMemory.empty(task.room) as room, SharedMemory.holding(b"no picture") as upload:
        socket.send_fds(service, [task.model_dump_json().encode()], [room.fd, upload.fd])
        service.shutdown(socket.SHUT_WR)
        child.work(worker, memory)
    assert memory.give_back.call_count == given_back
