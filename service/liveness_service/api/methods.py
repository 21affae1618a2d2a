"""The methods that no route declares: HEAD works wherever GET does, OPTIONS says what a path takes.

Every other method, TRACE too, is answered 405 with the same list. No other origin may call, unless `cors` lets it.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

AS_HEAD = "liveness.as_head"
"""Member of a scope whose request is HEAD and is answered as GET: a route that gives something away must not then."""
_READING = ("GET", "HEAD")
_CHANGING = ("DELETE", "PATCH", "POST", "PUT")


class ImpliedMethods:
    """ASGI middleware that answers HEAD and OPTIONS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        method = scope["method"] if scope["type"] == "http" else None
        if method == "HEAD":
            await self._head(scope, receive, send)
        elif method == "OPTIONS" and (allow := allowed_methods(scope)):
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_no_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get: MutableMapping[str, Any] = {**scope, "method": "GET", AS_HEAD: True}
        try:
            await self._app(as_get, receive, send_no_body)
        finally:
            if "route" in as_get:  # whoever reports the request reads it from the scope that it knows
                scope["route"] = as_get["route"]


def allowed_methods(scope: Scope) -> str:
    """The methods that the path of a request takes, as the header `Allow` lists them; empty if nothing is there."""
    # A mounted app has its own prefix, which is written into the scope on the way to it.
    asked = {**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
    found = set()
    for route in scope["app"].routes:
        for method in _READING if isinstance(route, Mount) else (*_READING, *_CHANGING):
            if route.matches({**asked, "method": method})[0] is Match.FULL:
                found.add(method)
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted({*found, "OPTIONS"})) if found else ""
