"""Traces requests: every request has W3C trace ids, and an OpenTelemetry span if tracing is on.

Without tracing, the caller's `traceparent` is read too, so that the caller's log and this service's log share an id.
Pictures, keys, addresses and query strings never go into a span.
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
"""Longest `traceparent` or `tracestate` that is read, in characters (W3C Trace Context, 3.3.1.5)."""
_MAX_PATH = 256
"""Longest path that a span holds, in characters; it is bounded because anybody can send any path."""
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
# What a span takes over from the request's log line. `detail` is not taken, since it may quote the client's input.
_OUTCOME = ("verdict", "reasons", "score", "operating_point", "model", "model_version", "faces", "code")


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The ids of a request in traces, and its span if there is one."""

    trace_id: str
    """32 hexadecimal digits: the caller's if it sent any, else made here."""
    span_id: str
    """16 hexadecimal digits, made here."""
    sampled: bool
    """Whether this service records the request's spans."""
    span: Span = INVALID_SPAN
    method: str = ""
    """HTTP method; empty without a span."""

    @property
    def traceparent(self) -> str:
        """Value of the answer's header `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def answered(self, route: str | None, status: int, outcome: Mapping[str, Any], failure: str | None = None) -> None:
        """Write into the span how the request ended.

        Args:
            route: the pattern of the route's path; None if no route matched.
            status: HTTP status.
            outcome: what the request's log line says of the answer.
            failure: type of the exception if an unexpected one ended the request.
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
        """Prepare tracing.

        Args:
            tracer: makes the spans; without one, requests have ids only.
            stop: called by `close`; sends the spans that are left.
        """
        self._tracer = tracer
        self.close = stop

    @contextmanager
    def request(self, scope: Mapping[str, Any], request_id: str, *, record: bool = True) -> Iterator[RequestTrace]:
        """Trace one request while the context is open.

        Args:
            scope: the ASGI scope.
            request_id: the request's id in the answer and in the log.
            record: whether to make spans of this request if tracing is on.
        """
        parent = _incoming(scope["headers"])
        if self._tracer is None or not record:
            yield _without_span(parent)
            return
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, _request_attributes(scope, request_id))
        context = span.get_span_context()
        if not context.is_valid:  # the SDK is switched off by OTEL_SDK_DISABLED
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
    """The context with the caller's span; an empty context if the caller sent no span, or a malformed one."""
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
    """The attributes that OpenTelemetry's conventions ask of HTTP servers, without any that identify the caller."""
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
