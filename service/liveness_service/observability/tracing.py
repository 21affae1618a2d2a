"""Traces: W3C ids of every request, and OpenTelemetry spans of it and its stages where they are asked for.

With tracing off no span is made, and a caller's `traceparent` is read all the same, so that its log and ours can be
laid side by side. Neither pictures nor keys, addresses or query strings go into a span.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from liveness_service.errors import ServiceError
from liveness_service.settings import Settings

_NANO = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()
_MAX_HEADER = 512
"""Longest `traceparent` or `tracestate` that is read, characters (W3C Trace Context, 3.3.1.5)."""
_MAX_PATH = 256
"""Of a path that nobody serves, characters."""
_NOTHING = nullcontext(INVALID_SPAN)
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
# Of a request's log line, what its span has too: `detail` may quote the client.
_OUTCOME = ("verdict", "reasons", "score", "operating_point", "model", "model_version", "faces", "code")

_tracer: ContextVar[Tracer | None] = ContextVar("liveness_tracer", default=None)
"""Set while a request that is recorded is in work, in whatever task or thread works on it."""


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """What a request is known by elsewhere."""

    trace_id: str
    """32 hexadecimal digits, the caller's where it sent them."""
    span_id: str
    """16 hexadecimal digits, ours."""
    sampled: bool
    """Whether its spans are recorded here."""
    span: Span = INVALID_SPAN
    method: str = ""

    @property
    def traceparent(self) -> str:
        """Of the answer."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def answered(self, route: str | None, status: int, outcome: Mapping[str, Any], failure: str | None = None) -> None:
        """Say how the request ended.

        Args:
            route: its pattern; None where none matched.
            status: HTTP status.
            outcome: of its log line.
            failure: type of the exception that no one expected.
        """
        if not self.span.is_recording():
            return
        attributes = {f"liveness.{name}": outcome[name] for name in _OUTCOME if outcome.get(name) is not None}
        self.span.set_attributes({"http.response.status_code": status, **attributes})
        if route is not None:
            self.span.set_attribute("http.route", route)
            self.span.update_name(f"{self.method} {route}")
        if status >= 500:
            self.span.set_attribute("error.type", failure or str(outcome.get("code", status)))
            self.span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes the traces of one service."""

    def __init__(self, tracer: Tracer | None = None, stop: Callable[[], None] = lambda: None) -> None:
        """Without a tracer there are ids and no spans; `stop` sends what was recorded."""
        self._tracer = tracer
        self.close = stop

    @contextmanager
    def request(self, scope: Mapping[str, Any], request_id: str, *, record: bool = True) -> Iterator[RequestTrace]:
        """Trace a request, to be left when it is answered.

        Args:
            scope: the ASGI scope.
            request_id: the id that the answer and the log have.
            record: whether to make spans of it, where spans are made at all.
        """
        parent = _incoming(scope["headers"])
        if self._tracer is None or not record:
            yield _without_span(parent)
            return
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, _request_attributes(scope, request_id))
        context = span.get_span_context()
        if not context.is_valid:  # OTEL_SDK_DISABLED
            yield _without_span(parent)
            return
        sampled = context.trace_flags.sampled
        ids = RequestTrace(f"{context.trace_id:032x}", f"{context.span_id:016x}", sampled, span, method)
        if not span.is_recording():
            yield ids
            return
        token = _tracer.set(self._tracer)
        try:
            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                yield ids
        finally:
            _tracer.reset(token)


def start_tracing(settings: Settings) -> Tracing:
    """Tracing as it is set: only where it is on is the SDK imported, and its exporter started."""
    if not settings.tracing:
        return Tracing()
    from liveness_service.observability.span_export import exporting

    return exporting(settings)


def stage(name: str, **attributes: str | float) -> AbstractContextManager[Span]:
    """A span of a part of the request in work; nothing where no request is recorded."""
    tracer = _tracer.get()
    return _NOTHING if tracer is None else _stage(tracer, name, attributes)


def record(name: str, started_ns: int, seconds: float, **attributes: str | float) -> int:
    """A span of what was measured elsewhere; when it ended.

    Args:
        name: of the stage.
        started_ns: nanoseconds since 1970.
        seconds: how long it took.
        attributes: `liveness.` is put before their names.
    """
    ended_ns = started_ns + int(seconds * _NANO)
    if (tracer := _tracer.get()) is not None:
        tracer.start_span(name, attributes=_named(attributes), start_time=started_ns).end(ended_ns)
    return ended_ns


@contextmanager
def _stage(tracer: Tracer, name: str, attributes: Mapping[str, str | float]) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:  # CancelledError too: a hang-up or a deadline
            expected = error if isinstance(error, ServiceError) else None
            span.set_attribute("error.type", expected.code if expected else type(error).__name__)
            if expected is None or expected.status >= 500:
                span.set_status(StatusCode.ERROR)
            raise


def _named(attributes: Mapping[str, str | float]) -> dict[str, str | float]:
    return {f"liveness.{name}": value for name, value in attributes.items()}


def _incoming(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The caller's span; an empty context where it sent none or a malformed one, which is as none."""
    found = [value.decode("latin-1") for name, value in headers if name == b"traceparent"]
    if len(found) != 1 or len(found[0]) > _MAX_HEADER:
        return Context()
    state = ",".join(value.decode("latin-1") for name, value in headers if name == b"tracestate")
    carrier = {"traceparent": found[0], **({"tracestate": state} if 0 < len(state) <= _MAX_HEADER else {})}
    return _PROPAGATOR.extract(carrier, Context())


def _without_span(parent: Context) -> RequestTrace:
    caller = get_current_span(parent).get_span_context()
    trace_id = f"{caller.trace_id:032x}" if caller.is_valid else secrets.token_hex(16)
    return RequestTrace(trace_id, secrets.token_hex(8), sampled=False)


def _request_attributes(scope: Mapping[str, Any], request_id: str) -> dict[str, str | int]:
    """By OpenTelemetry's conventions for HTTP servers, without what says who asked."""
    address, port = scope.get("server") or (None, None)
    return {
        "http.request.method": scope["method"] if scope["method"] in _METHODS else "_OTHER",
        "url.scheme": scope.get("scheme", "http"),
        "url.path": scope["path"][:_MAX_PATH],
        "network.protocol.version": scope.get("http_version", "1.1"),
        "liveness.request_id": request_id,
        **({"server.address": address} if address else {}),
        **({"server.port": port} if port else {}),
    }
