"""What the service knows of a request while it is in work; everything between middleware and route is kept here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from liveness_service.access.policy import Caller

_KEY = "liveness"
"""Where it lies in the ASGI scope's `state`, which other middleware may share."""
_NOBODY = Caller("none")


@dataclass(slots=True)
class RequestState:
    """One request, from its first byte to its log line."""

    request_id: str
    """The client's own where it sent a usable one, else a ULID; in the answer, the log and the audit log."""
    caller: Caller | None = None
    """Who asks; None until access was checked, which not every path does."""
    counted: bool = False
    """Whether the rate limit has counted the request: it does so once, however many checks there are."""
    outcome: Mapping[str, Any] = field(default_factory=dict)
    """What the log line says beside path, status and time: the verdict, or the error's code."""

    @property
    def caller_name(self) -> str:
        """The name of the caller's access key, for logs, metrics and audit; `none` without one."""
        return (self.caller or _NOBODY).name


def begin_state(scope: Scope, request_id: str) -> RequestState:
    """Make the state of a new request and attach it to its scope."""
    state = RequestState(request_id)
    scope.setdefault("state", {})[_KEY] = state
    return state


def state_of(scope: Scope) -> RequestState:
    """The state of the request with this scope; `begin_state` has made it."""
    state = scope["state"][_KEY]
    assert isinstance(state, RequestState)
    return state


def request_state(request: Request) -> RequestState:
    """The state of a request."""
    return state_of(request.scope)
