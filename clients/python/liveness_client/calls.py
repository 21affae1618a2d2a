"""What both clients share: requests, how answers are read, and when a request may be sent again."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx

from liveness_client.errors import ConnectionFailedError, LivenessError, ProblemError, UnexpectedAnswerError, problem_of
from liveness_client.results import ClipAnswer, Json, PhotoAnswer, Reason, Session, SessionResult

T = TypeVar("T")
Faces = Literal["single", "largest", "all"]
Kind = Literal["photo", "clip"]

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_CONNECT_S = 5.0
"""Longest wait for a connection, as far as the call's own time goes on."""
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before anything was sent, so that the request may be sent again whatever it asks."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)

    def answer(self, response: httpx.Response) -> T:
        """Read the response.

        Raises:
            ProblemError: the service refused; each code has its own class.
            UnexpectedAnswerError: this is no answer of the service.
        """
        if response.is_success:
            try:
                return self.read(response.json())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UnexpectedAnswerError(
                    f"{self.method} {self.path}: {response.status_code}, but no answer of the service: check the URL"
                ) from error
        raise problem_of(response.status_code, _members(response), _retry_after(response))

    def retry_after(self, error: LivenessError) -> float | None:
        """Seconds after which this request may be sent again; None if it may not.

        429 and 503 with `Retry-After` were refused. The upload to a session is sent again only if the service says that
        the session still waits: a token is good for one file.
        """
        if isinstance(error, ConnectionFailedError):
            return 0.0 if error.before_sending else None
        if not isinstance(error, ProblemError) or error.status not in (429, 503) or error.retry_after_s is None:
            return None
        if error.members.get("session_state", "waiting") != "waiting":
            return None
        return error.retry_after_s


def pauses() -> Iterator[float]:
    """The least pause before each further try, in seconds."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def timeouts(left_s: float) -> httpx.Timeout:
    """The limits of one try, of which so many seconds are left."""
    left_s = max(left_s, 0.001)
    return httpx.Timeout(left_s, connect=min(left_s, _CONNECT_S))


def failed(call: Call[Any], error: httpx.HTTPError | TimeoutError) -> ConnectionFailedError:
    """What the caller is told of a failure below HTTP."""
    before_sending = isinstance(error, NOT_SENT)
    told = "" if before_sending else ", after the request was sent: whether it was answered is not known"
    reason = str(error) or type(error).__name__
    return ConnectionFailedError(f"{call.method} {call.path}: {reason}{told}", before_sending=before_sending)


def photo(content: bytes, operating_point: str | None, faces: Faces, *, explain: bool) -> Call[PhotoAnswer]:
    """Score a photo."""
    return _scoring("/v1/liveness", PhotoAnswer.of, content, operating_point, faces, explain)


def clip(content: bytes, operating_point: str | None, faces: Faces, *, explain: bool) -> Call[ClipAnswer]:
    """Score a clip."""
    return _scoring("/v1/liveness/video", ClipAnswer.of, content, operating_point, faces, explain)


def reasons() -> Call[dict[str, Reason]]:
    """List the reasons."""

    def read(given: Json) -> dict[str, Reason]:
        return {row["reason"]: Reason(row["reason"], row["text"], row["advice"]) for row in given["reasons"]}

    return Call("GET", "/v1/reasons", read)


def models() -> Call[Json]:
    """Describe the loaded models."""
    return Call("GET", "/v1/models", dict)


def open_session(kind: Kind, operating_point: str | None, ttl_s: int | None) -> Call[Session]:
    """Open a session."""
    given = {"kind": kind, "operating_point": operating_point, "ttl_s": ttl_s}
    body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    return Call("POST", "/v1/sessions", Session.of, headers={"Content-Type": "application/json"}, content=body)


def read_session(session_id: str) -> Call[SessionResult]:
    """Read a session."""
    return Call("GET", f"/v1/sessions/{quote(session_id, safe='')}", SessionResult.of)


def upload_to_session(session_id: str, token: str, content: bytes) -> Call[None]:
    """Upload the file of a session; the token takes the place of the key."""
    path = f"/v1/sessions/{quote(session_id, safe='')}/upload"
    return Call("POST", path, lambda _: None, headers=_FILE | {"Authorization": f"Bearer {token}"}, content=content)


_FILE = {"Content-Type": "application/octet-stream"}


def _scoring(
    path: str,
    read: Callable[[Any], T],
    content: bytes,
    operating_point: str | None,
    faces: Faces,
    explain: bool,
) -> Call[T]:
    params: dict[str, str] = {} if faces == "single" else {"faces": faces}
    if operating_point is not None:
        params["operating_point"] = operating_point
    if explain:
        params["explain"] = "true"
    return Call("POST", path, read, params, _FILE, content)


def _members(response: httpx.Response) -> Json:
    try:
        members = response.json()
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
