import asyncio
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import INVALID_SPAN

from liveness_service.observability.stages import record, stage, timed


def test_a_stage_is_timed_and_runs_add_up():
    with timed() as times:
        for _ in range(2):
            with stage("decode"):
                time.sleep(0.01)
    assert times.total_ms("decode") >= 20
    assert 10 <= times.longest_ms("decode") < times.total_ms("decode")
    assert (times.total_ms("detect"), times.longest_ms("detect")) == (0, 0)


def test_a_stage_inside_another_counts_for_itself_alone():
    with timed() as times, stage("decode"):
        with stage("detect"), stage("inner"):
            time.sleep(0.03)
        time.sleep(0.01)
    assert times.total_ms("inner") >= 30
    assert times.total_ms("detect") < 5
    assert 10 <= times.total_ms("decode") < 25


def test_a_stage_that_fails_is_timed_too():
    def broken():
        time.sleep(0.01)
        raise ValueError("broken")

    with timed() as times, pytest.raises(ValueError, match="broken"), stage("decode"):
        broken()
    assert times.total_ms("decode") >= 10


def test_what_was_measured_elsewhere_is_noted():
    with timed() as times:
        assert record("queue", 5, 0.002) == 5 + 2_000_000
        record("queue", 5, 0.004)
    assert times.longest_ms("queue") == pytest.approx(4)
    assert times.total_ms("queue") == pytest.approx(6)


def test_outside_of_a_submission_nothing_is_kept_and_nothing_fails():
    with stage("upload") as span:
        assert span is INVALID_SPAN
    assert record("queue", 0, 1.0) == 1_000_000_000


def test_threads_that_take_the_context_along_are_timed_and_others_are_not():
    def work():
        with stage("align"):
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as threads, timed() as times:
        threads.submit(contextvars.copy_context().run, work).result()
        threads.submit(work).result()
    assert 10 <= times.total_ms("align") < 19


@pytest.mark.anyio
async def test_submissions_side_by_side_keep_their_times_apart():
    async def one(seconds):
        with timed() as times, stage("infer"):
            await asyncio.sleep(seconds)
        return times.total_ms("infer")

    short, long = await asyncio.gather(one(0.01), one(0.05))
    assert 10 <= short < 45
    assert long >= 50
