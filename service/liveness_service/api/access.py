"""What routes need of the app, typed: the service, and who may ask.

A guarded route says what its callers need: `dependencies=[Depends(requires(Permission.OPERATIONS))]`, of the route or
of its router. Where FastAPI itself reads a body (a JSON parameter), the router needs `route_class=GuardedRoute` too.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from liveness_service.access.gate import Gate
from liveness_service.access.policy import admit
from liveness_service.api.state import request_state
from liveness_service.keys import Permission
from liveness_service.service import LivenessService


def _service(request: Request) -> LivenessService:
    service = request.app.state.service
    assert isinstance(service, LivenessService)
    return service


Service = Annotated[LivenessService, Depends(_service)]

_HINT = "An access key (docs/access.md). Not asked for while the service has none."
_BEARER = HTTPBearer(scheme_name="bearer", description=_HINT, auto_error=False)
_HEADER = APIKeyHeader(name="X-API-Key", scheme_name="header", description=_HINT, auto_error=False)


class _Requires:
    """A dependency: the caller has one of these permissions, and does not ask too often."""

    def __init__(self, enough: frozenset[Permission], *, limited: bool) -> None:
        self._enough = enough
        self._limited = limited

    async def __call__(
        self, request: Request, _bearer: Annotated[Any, Security(_BEARER)], _header: Annotated[Any, Security(_HEADER)]
    ) -> None:
        """For FastAPI; the two schemes are there to be described."""
        await self.check(request)

    async def check(self, request: Request) -> None:
        """Let the request pass or not; nothing of its body is read.

        Raises:
            UnauthorizedError, ForbiddenError, RateLimitedError: it does not pass.
        """
        gate = request.app.state.gate
        assert isinstance(gate, Gate)
        state = request_state(request)
        if state.caller is None:
            server = request.scope.get("server")
            state.caller = gate.policy.identify(presented_key(request), server[0] if server else None)
        admit(state.caller, self._enough)
        if self._limited and not state.counted:
            state.counted = True
            await gate.count(state.caller, request.client.host if request.client else "")


def requires(*enough: Permission, limited: bool = True) -> _Requires:
    """A dependency that asks for a key with one of these permissions.

    Args:
        enough: any one of them will do.
        limited: whether the request counts for the rate limit.
    """
    return _Requires(frozenset(enough), limited=limited)


class GuardedRoute(APIRoute):
    """A route that checks access before FastAPI reads its body; FastAPI asks dependencies only afterwards."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the checks of the route and of its router."""
        handle = super().get_route_handler()
        checks = [each.dependency for each in self.dependencies if isinstance(each.dependency, _Requires)]

        async def checked(request: Request) -> Response:
            for each in checks:
                await each.check(request)
            return await handle(request)

        return checked


def presented_key(request: Request) -> str | None:
    """The key that came with a request; None without one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key", "").strip() or None
