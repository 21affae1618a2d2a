"""Lets pages of listed origins read answers of `/v1/` (CORS). Off by default; operations and metrics never take part.

It is here for uploads to capture sessions, and for services without keys, behind something that checks callers: a page
that holds an access key gives it to everybody (docs/browsers.md).
"""

import re
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liveness_service.access.policy import AccessError, AccessPolicy, Mode
from liveness_service.api.methods import allowed_methods
from liveness_service.origins import ANY, parse_origins
from liveness_service.settings import Settings

_PATHS = re.compile(r"/v1/(liveness(/video)?|models|reasons|sessions/[^/]+/upload)")
_SENT = "Authorization, Content-Type, X-API-Key, X-Request-ID, traceparent"
_READ = "Retry-After, X-Request-ID, traceparent"
_KEPT_S = "600"


class Origins:
    """The origins whose pages may read answers."""

    def __init__(self, listed: frozenset[str]) -> None:
        self._listed = listed

    @classmethod
    def of(cls, settings: Settings, policy: AccessPolicy) -> Self:
        """The origins that the settings list.

        Raises:
            AccessError: any page may call, and the service has keys: then pages would hold them.
        """
        listed = parse_origins(settings.cors_origins or "")
        if ANY in listed and policy.mode is Mode.KEYS:
            raise AccessError(
                "LIVENESS_CORS_ORIGINS: `*` lets pages of any origin call a service that has access keys: list the "
                "origins, and read docs/browsers.md on why keys stay out of browsers"
            )
        return cls(listed)

    def __bool__(self) -> bool:
        return bool(self._listed)

    def allowed(self, origin: str) -> str | None:
        """What `Access-Control-Allow-Origin` says to this origin; None where it may not read answers."""
        if ANY in self._listed:
            return ANY
        return origin if origin in self._listed else None


class Cors:
    """ASGI middleware that answers preflights and marks answers that pages of other origins may read."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not _PATHS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        allowed = self._origins.allowed(asked.get("origin", "")) if "origin" in asked else None
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            answer = Response(status_code=204, headers={"Allow": allowed_methods(scope)})
            self._mark(answer.headers, allowed)
            answer.headers["Access-Control-Allow-Methods"] = allowed_methods(scope)
            answer.headers["Access-Control-Allow-Headers"] = _SENT
            answer.headers["Access-Control-Max-Age"] = _KEPT_S
            await answer(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), allowed)
            await send(message)

        await self._app(scope, receive, marked)

    def _mark(self, headers: MutableHeaders, allowed: str | None) -> None:
        headers.add_vary_header("Origin")
        if allowed is not None:
            headers["Access-Control-Allow-Origin"] = allowed
            headers["Access-Control-Expose-Headers"] = _READ
