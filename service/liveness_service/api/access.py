"""What routes depend on: the service, typed, and the check whether the caller may use the route.

A guarded route, or its router, says which permission its callers need:
`dependencies=[Depends(requires(Permission.OPERATIONS))]`. If FastAPI itself reads the body (a JSON parameter), the
router needs `route_class=GuardedRoute` as well.
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


def service_of(request: Request) -> LivenessService:
    """The app's service."""
    service = request.app.state.service
    assert isinstance(service, LivenessService)
    return service


async def _service(request: Request) -> LivenessService:  # FastAPI would hand a plain function to a thread
    return service_of(request)


Service = Annotated[LivenessService, Depends(_service)]

_HINT = "An access key (docs/access.md). Not asked for while the service has none."
_BEARER = HTTPBearer(scheme_name="bearer", description=_HINT, auto_error=False)
_HEADER = APIKeyHeader(name="X-API-Key", scheme_name="header", description=_HINT, auto_error=False)


class _Requires:
    """A dependency that checks the caller's permissions and rate limit."""

    def __init__(self, enough: frozenset[Permission], *, limited: bool) -> None:
        self._enough = enough
        self._limited = limited

    async def __call__(
        self, request: Request, _bearer: Annotated[Any, Security(_BEARER)], _header: Annotated[Any, Security(_HEADER)]
    ) -> None:
        """Check the request, called by FastAPI. The two schemes are parameters only for the OpenAPI document."""
        await self.check(request)

    async def check(self, request: Request) -> None:
        """Refuse the request if its caller may not send it; nothing of its body is read.

        Raises:
            UnauthorizedError: the request has no key, or one that the service does not know.
            ForbiddenError: the key has none of the permissions.
            RateLimitedError: the caller has reached the rate limit.
        """
        gate = gate_of(request)
        state = request_state(request)
        if state.caller is None:
            server = request.scope.get("server")
            state.caller = gate.policy.identify(presented_key(request), server[0] if server else None)
            state.limited_as = gate.limited_as(state.caller, request.client.host if request.client else "")
        admit(state.caller, self._enough)
        if self._limited and not state.counted:
            state.counted = True
            await gate.count(state.limited_as)


def requires(*enough: Permission, limited: bool = True) -> _Requires:
    """A dependency that asks for a key with one of these permissions.

    Args:
        enough: the permissions, of which the caller needs one.
        limited: whether the request counts towards the rate limit.
    """
    return _Requires(frozenset(enough), limited=limited)


class GuardedRoute(APIRoute):
    """A route that checks access before FastAPI reads its body; FastAPI asks dependencies only afterwards."""

    @property
    def required(self) -> list["_Requires"]:
        """The access checks of the route and of its router."""
        dependencies = (declared.dependency for declared in self.dependencies)
        return [dependency for dependency in dependencies if isinstance(dependency, _Requires)]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, preceded by the access checks of the route and of its router."""
        handle = super().get_route_handler()
        required = self.required

        async def checked(request: Request) -> Response:
            for requirement in required:
                await requirement.check(request)
            return await handle(request)

        return checked


def gate_of(request: Request) -> Gate:
    """The app's checks."""
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def presented_key(request: Request) -> str | None:
    """The access key that came with a request, in either of the two headers; None without one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key", "").strip() or None
