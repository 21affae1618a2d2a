"""What the service knows about a request in work. The middleware and the route share it through this object."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from liveness_service.access.policy import Caller

_KEY = "liveness"
"""Key of the object in the ASGI scope's `state`, which other middleware may use as well."""
_NOBODY = Caller("none")


@dataclass(slots=True)
class RequestState:
    """The state of one request, from its first byte to its log line."""

    request_id: str
    """The client's own id if it sent a usable one, else a ULID. Answer, log and audit log show it."""
    draw: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Random text that decides whether a canary or shadow scores the request. The client must not know or choose it."""
    caller: Caller | None = None
    """Who sent the request; None before access is checked, and on paths without such a check."""
    limited_as: str = ""
    """Whom limits count: the key's name or, where there are no keys, the client's address; empty before the check."""
    counted: bool = False
    """Whether the rate limit has counted the request; it counts once, even if there are several checks."""
    outcome: Mapping[str, Any] = field(default_factory=dict)
    """What the log line says besides path, status and time: the verdict, or the error's code."""

    @property
    def caller_name(self) -> str:
        """The name of the caller's access key, for logs, metrics and audit log; `none` without a key."""
        return (self.caller or _NOBODY).name


def begin_state(scope: Scope, request_id: str) -> RequestState:
    """Make the state of a new request and attach it to its scope."""
    state = RequestState(request_id)
    scope.setdefault("state", {})[_KEY] = state
    return state


def state_of(scope: Scope) -> RequestState:
    """The state of the request with this scope; `begin_state` must have made it."""
    state = scope["state"][_KEY]
    assert isinstance(state, RequestState)
    return state


def request_state(request: Request) -> RequestState:
    """The state of a request."""
    return state_of(request.scope)
