"""Traces of whole requests: W3C ids always, an OpenTelemetry span where tracing is on.

With tracing off no span is made. The caller's `traceparent` is read all the same, so that the caller's log and this
service's can be compared. Pictures, keys, addresses and query strings never go into a span.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from liveness_service.observability.stages import active_tracer

_PROPAGATOR = TraceContextTextMapPropagator()
_MAX_HEADER = 512
"""Longest `traceparent` or `tracestate` that is read, characters (W3C Trace Context, 3.3.1.5)."""
_MAX_PATH = 256
"""Longest path that a span holds, characters: a stranger chooses it."""
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
# What a span takes over from the request's log line; `detail` is not among it, since it may quote the client.
_OUTCOME = ("verdict", "reasons", "score", "operating_point", "model", "model_version", "faces", "code")


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The ids of a request in traces, and its span where there is one."""

    trace_id: str
    """32 hexadecimal digits, the caller's where it sent them."""
    span_id: str
    """16 hexadecimal digits, made here."""
    sampled: bool
    """Whether its spans are recorded here."""
    span: Span = INVALID_SPAN
    method: str = ""

    @property
    def traceparent(self) -> str:
        """The header `traceparent` of the answer."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def answered(self, route: str | None, status: int, outcome: Mapping[str, Any], failure: str | None = None) -> None:
        """Say how the request ended.

        Args:
            route: the pattern of its path; None where no route matched.
            status: HTTP status.
            outcome: what its log line says of the answer.
            failure: type of the exception where nobody expected one.
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
        """Trace one request until it is answered.

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
        token = active_tracer.set(self._tracer)
        try:
            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                yield ids
        finally:
            active_tracer.reset(token)


def _incoming(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The caller's span; an empty context where the caller sent none, or one that is malformed."""
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
    """What OpenTelemetry's conventions for HTTP servers ask for, without anything that says who asked."""
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
