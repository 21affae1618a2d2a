"""Stages that ran in another process: noted there, taken over here as if they had run in this one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time_ns
from typing import Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Span, StatusCode, Tracer, set_span_in_context
from pydantic import BaseModel, ConfigDict, Field

from liveness_service.observability.stages import StageTimes, active_tracer, add_seconds, timed

Attribute = str | bool | int | float


class RemoteSpan(BaseModel):
    """One stage, as the other process saw it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100)
    parent: int | None
    """Number of the span around it, from 0; None for the outermost ones."""
    started_ns: int
    """Nanoseconds since 1970."""
    ended_ns: int = 0
    attributes: dict[str, Attribute]
    failed: bool = False


class RemoteTimes(BaseModel):
    """All stages of one piece of work."""

    model_config = ConfigDict(extra="forbid")

    seconds: dict[str, list[float]] = {}
    """For each stage, how long its runs took without the stages inside them."""
    spans: list[RemoteSpan] = Field(default=[], max_length=10_000)
    """In the order in which they began; empty where the request is not traced."""

    def take_over(self) -> None:
        """Add the times to those of the submission in work and, if it is traced, make spans below the open one."""
        add_seconds(self.seconds)
        if (tracer := active_tracer.get()) is None:
            return
        made: list[Span] = []
        for given in self.spans:
            # A parent begins before its children. What says otherwise becomes an outermost span.
            around = made[given.parent] if given.parent is not None and 0 <= given.parent < len(made) else None
            context = None if around is None else set_span_in_context(around)
            span = tracer.start_span(
                given.name, context=context, attributes=given.attributes, start_time=given.started_ns
            )
            if given.failed:
                span.set_status(StatusCode.ERROR)
            made.append(span)
        for span, given in zip(made, self.spans, strict=True):
            span.end(given.ended_ns)


class _NotedSpan(NonRecordingSpan):
    """A span of which only attributes and status are kept."""

    def __init__(self, noted: RemoteSpan) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._noted = noted

    def set_attribute(self, key: str, value: Any) -> None:
        self._noted.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:  # noqa: ARG002 (not kept)
        self._noted.failed = status is StatusCode.ERROR


class _NotingTracer(Tracer):
    """Keeps the spans of one piece of work, which runs in one thread."""

    def __init__(self) -> None:
        self.spans: list[RemoteSpan] = []
        self._open: list[int] = []

    def start_span(self, name: str, *_args: Any, **options: Any) -> Span:
        parent = self._open[-1] if self._open else None
        attributes = dict(options.get("attributes") or {})
        self.spans.append(RemoteSpan(name=name, parent=parent, started_ns=time_ns(), attributes=attributes))
        return _NotedSpan(self.spans[-1])

    def start_as_current_span(self, name: str, *args: Any, **options: Any) -> Any:
        return self._noted(name, *args, **options)

    @contextmanager
    def _noted(self, name: str, *args: Any, **options: Any) -> Iterator[Span]:
        span = self.start_span(name, *args, **options)
        number = len(self.spans) - 1
        self._open.append(number)
        try:
            yield span
        finally:
            self._open.pop()
            self.spans[number].ended_ns = time_ns()


class Noted:
    """What `noting` has noted."""

    def __init__(self, times: StageTimes, spans: Sequence[RemoteSpan]) -> None:
        self._times = times
        self._spans = spans

    def stages(self) -> RemoteTimes:
        """The stages that have ended so far."""
        seconds: Mapping[str, Sequence[float]] = self._times.seconds
        return RemoteTimes(seconds={name: list(runs) for name, runs in seconds.items()}, spans=list(self._spans))


@contextmanager
def noting(*, traced: bool) -> Iterator[Noted]:
    """Note the stages that run inside, for the process that asked for the work; their spans too if it is `traced`."""
    tracer = _NotingTracer() if traced else None
    token = active_tracer.set(tracer)
    try:
        with timed() as times:
            yield Noted(times, [] if tracer is None else tracer.spans)
    finally:
        active_tracer.reset(token)
