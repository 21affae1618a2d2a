"""What happens around every request: its ids, log line, metrics and trace, and the answer to an unexpected error."""

import re
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from liveness_service.api.problems import internal_error
from liveness_service.api.state import RequestState, begin_state
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.tracing import RequestTrace, Tracing

log = structlog.get_logger(__name__)

_CLIENTS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/health/live", "/health/ready", "/metrics"}
"""Paths that machines ask for every few seconds; logged at level debug only (faults: info), and never traced."""
# What browsers and caches must not do with an answer. A route may set its own values.
_DEFAULT_HEADERS: Final = {
    # The declared type is the type: no browser may take a verdict or a problem for a page or a script.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Verdicts are about people, so nothing on the way may keep them.
    "Cache-Control": "no-store",
    # If an answer is opened as a page nevertheless, it may load nothing, run nothing and not be framed.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

CLIENT_CLOSED = 499
"""Status in metrics and logs of a request whose client went away before the answer; no client receives it."""


def _request_id(scope: Scope) -> str:
    """The client's `X-Request-ID` if it is short and plain, else a new ULID."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _CLIENTS_ID.fullmatch(given) else str(ULID())


class RequestContext:
    """ASGI middleware, the outermost one of the service."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = begin_state(scope, _request_id(scope))
        with self._tracing.request(scope, state.request_id, record=scope["path"] not in _QUIET) as trace:
            await self._traced(scope, receive, send, state, trace)

    async def _traced(
        self, scope: Scope, receive: Receive, send: Send, state: RequestState, trace: RequestTrace
    ) -> None:
        started = time.perf_counter()
        ident = state.request_id
        status = CLIENT_CLOSED
        failure = None

        async def send_with_ids(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = ident
                headers["traceparent"] = trace.traceparent
                for name, value in _DEFAULT_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        ids = {"request_id": ident, "trace_id": trace.trace_id, "span_id": trace.span_id}
        with structlog.contextvars.bound_contextvars(**ids):
            try:
                await self._app(scope, receive, send_with_ids)
            except Exception as error:
                failure = type(error).__name__
                log.exception("request_failed")
                if status != CLIENT_CLOSED:
                    raise  # a part of the answer is sent already: the connection can only be closed
                await internal_error(scope, ident)(scope, receive, send_with_ids)
            finally:
                self._report(scope, state, status, time.perf_counter() - started)
                route = getattr(scope.get("route"), "path", None)
                trace.answered(route, status, state.outcome, failure)

    def _report(self, scope: Scope, state: RequestState, status: int, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", "unmatched")
        self._metrics.answered(endpoint, status, seconds, state.caller_name)
        write = log.debug if scope["path"] in _QUIET and status < 500 else log.info
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
            key=state.caller_name,
            **state.outcome,
        )
