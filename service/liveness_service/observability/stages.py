"""Times the stages of the work on a request: for the answer and, if the request is traced, as spans."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from opentelemetry.trace import INVALID_SPAN, Span, StatusCode, Tracer

from liveness_service.errors import ServiceError

_NANO = 1_000_000_000
_NOTHING = nullcontext(INVALID_SPAN)

active_tracer: ContextVar[Tracer | None] = ContextVar("liveness_tracer", default=None)
"""The tracer of the request in work, in every task and thread that works on it; None where it is not traced."""


class StageTimes:
    """The time spent in each stage of one submission.

    The time of an inner stage does not count for the outer one. So `decode` of a clip does not include `detect` and
    `align`, which run inside it for each decoded frame.
    """

    def __init__(self) -> None:
        self._runs: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Note one run of a stage."""
        self._runs.setdefault(name, []).append(seconds)

    @property
    def seconds(self) -> Mapping[str, Sequence[float]]:
        """The runs of each stage, in seconds, in the order in which they ended."""
        return self._runs

    def total_ms(self, name: str) -> float:
        """Milliseconds of all runs of a stage together; 0 if it never ran."""
        return 1000 * sum(self._runs.get(name, ()))

    def longest_ms(self, name: str) -> float:
        """Milliseconds of the longest run of a stage, for stages that run side by side; 0 if it never ran."""
        return 1000 * max(self._runs.get(name, ()), default=0.0)


_times: ContextVar[StageTimes | None] = ContextVar("liveness_stage_times", default=None)
_inner_s: ContextVar[list[float] | None] = ContextVar("liveness_inner_stage_seconds", default=None)
"""Seconds that the inner stages of the open stage took, in a list of one, which they add to."""


@contextmanager
def timed() -> Iterator[StageTimes]:
    """Collect the times of the stages that run inside, also in tasks and threads to which this context is copied."""
    times = StageTimes()
    token = _times.set(times)
    try:
        yield times
    finally:
        _times.reset(token)


def stage(name: str, **attributes: str | float) -> AbstractContextManager[Span]:
    """Time a part of the work and, if the request is traced, make a span of it.

    Args:
        name: the stage's name, the same in the answer's `timings_ms` and in traces.
        attributes: attributes of the span; their names get the prefix `liveness.`.
    """
    tracer, times = active_tracer.get(), _times.get()
    span = _NOTHING if tracer is None else _span(tracer, name, attributes)
    return span if times is None else _timed_stage(times, name, span)


def record(name: str, started_ns: int, seconds: float, **attributes: str | float) -> int:
    """Note a stage that was timed elsewhere and, if the request is traced, make a span of it.

    Args:
        name: the stage's name.
        started_ns: when it started, in nanoseconds since 1970.
        seconds: how long it took.
        attributes: attributes of the span; their names get the prefix `liveness.`.

    Returns:
        When it ended, in nanoseconds since 1970.
    """
    ended_ns = started_ns + int(seconds * _NANO)
    if (times := _times.get()) is not None:
        times.add(name, seconds)
    if (tracer := active_tracer.get()) is not None:
        tracer.start_span(name, attributes=_named(attributes), start_time=started_ns).end(ended_ns)
    return ended_ns


def add_seconds(seconds: Mapping[str, Sequence[float]]) -> None:
    """Note the runs of stages that were timed in another process."""
    if (times := _times.get()) is not None:
        for name, runs in seconds.items():
            for took in runs:
                times.add(name, took)


@contextmanager
def _timed_stage(times: StageTimes, name: str, span: AbstractContextManager[Span]) -> Iterator[Span]:
    outer, own = _inner_s.get(), [0.0]
    token = _inner_s.set(own)
    began = time.perf_counter()
    try:
        with span as opened:
            yield opened
    finally:
        took = time.perf_counter() - began
        _inner_s.reset(token)
        if outer is not None:
            outer[0] += took
        times.add(name, took - own[0])


@contextmanager
def _span(tracer: Tracer, name: str, attributes: Mapping[str, str | float]) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:  # CancelledError too: the client hung up, or the deadline passed
            expected = error if isinstance(error, ServiceError) else None
            span.set_attribute("error.type", expected.code if expected else type(error).__name__)
            if expected is None or expected.status >= 500:
                span.set_status(StatusCode.ERROR)
            raise


def _named(attributes: Mapping[str, str | float]) -> dict[str, str | float]:
    return {f"liveness.{name}": value for name, value in attributes.items()}
