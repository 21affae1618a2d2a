"""Around every request: its id, its log line, its metrics, and the answer when something breaks."""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from liveness_service.api.problems import internal_error
from liveness_service.observability.metrics import Metrics

log = structlog.get_logger(__name__)

_CLIENTS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"/health/live", "/health/ready", "/metrics"}
"""Asked every few seconds by machines; logged only at level debug."""
CLIENT_CLOSED = 499
"""Status in metrics and logs of a request whose client went away; nobody receives it."""


def request_id(scope: Scope) -> str:
    """The id of a request: the client's `X-Request-ID` where it is a plain one, else a new ULID."""
    state: dict[str, str] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = given if _CLIENTS_ID.fullmatch(given) else str(ULID())
    return state["request_id"]


class RequestContext:
    """Pure ASGI middleware, outermost of ours."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        ident = request_id(scope)
        status = CLIENT_CLOSED

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = ident
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=ident):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request_failed")
                if status != CLIENT_CLOSED:
                    raise  # half an answer is out: the connection can only be closed
                await internal_error(scope, ident)(scope, receive, send_with_id)
            finally:
                self._report(scope, status, time.perf_counter() - started)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", "unmatched")
        key = scope["state"].get("key", "none")
        self._metrics.answered(endpoint, status, seconds, key)
        write = log.debug if scope["path"] in _QUIET and status < 500 else log.info
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
            key=key,
            **scope["state"].get("log", {}),
        )
