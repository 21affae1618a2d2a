"""Where the state of sessions is kept: what a store does, and the store in this process's memory.

    waiting ──begin──▶ scoring ──finish──▶ scored ──read──▶ read
       ▲──────release─────┘     └─finish──▶ failed

`waiting` ends with the session's time (`expired`), `scoring` with its lease (`failed`: the replica that had it is
gone). Each step is one change that either happens or does not, so of requests that come together one succeeds. Each
store has one clock: replicas need not agree on the time.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from liveness_service.sessions.token import SessionKind

MOST_TRIES = 10
"""How often an upload to one session may begin. One that breaks off may be sent again, and not without end."""
_MOST_FILES = 200_000
"""Most digests of files in memory, 200 bytes each; beyond, the oldest is forgotten before its time."""


class SessionState(StrEnum):
    """Where a session stands, as callers see it."""

    WAITING = "waiting"
    SCORING = "scoring"
    SCORED = "scored"
    FAILED = "failed"
    EXPIRED = "expired"


class Refusal(StrEnum):
    """Why an upload cannot begin."""

    GONE = "gone"
    """The store knows no such session: it ended a while ago, or the store was emptied."""
    EXPIRED = "expired"
    USED = "used"
    BUSY = "busy"
    """Another upload with the same token is in work."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that may begin."""

    caller: str
    """Name of the key that opened the session."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session, as its caller reads it."""

    state: SessionState
    kind: SessionKind
    answer: bytes | None = None
    """Sealed: the answer of a scored session, the problem of a failed one; None for others, and for a mere look."""
    was_read: bool = False
    """Whether the answer was read before: then it is gone."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long states last, in seconds."""

    lease_s: float
    """How long an upload may be in work, from its first byte to its verdict."""
    keep_s: float
    """How long it is remembered how a session ended, and its answer kept."""


class SessionStore(Protocol):
    """Keeps sessions. Every method raises StoreUnavailableError where the store does not answer."""

    async def open(self, session_id: str, caller: str, kind: SessionKind, ttl_s: float) -> bool:
        """Keep a new session, which waits for `ttl_s` seconds; False if the caller has as many as it may have."""

    async def begin(self, session_id: str, attempt: str) -> Begun | Refusal:
        """Let one upload begin; `attempt` is a random text that names it."""

    async def release(self, session_id: str, attempt: str, *, counted: bool) -> None:
        """Let the session wait again, since nothing of the upload was looked at.

        Args:
            session_id: the session.
            attempt: the upload.
            counted: whether it was one of the session's tries: not if the service had no room for it.
        """

    async def finish(self, session_id: str, attempt: str, caller: str, state: SessionState, answer: bytes) -> bool:
        """Keep how the upload ended (`scored`, `failed`); False if the session was no longer this upload's."""

    async def read(self, session_id: str, caller: str, *, take: bool) -> Found | None:
        """The session, for whoever opened it; None for all others. With `take` a verdict is given and deleted."""

    async def is_new(self, digest: str, window_s: float) -> bool:
        """Remember the digest of a file for so long; False if it is remembered already."""

    async def forget(self, digest: str) -> None:
        """Forget such a digest."""

    async def close(self) -> None:
        """Close connections."""


@dataclass(slots=True)
class _Session:
    caller: str
    kind: SessionKind
    until: float
    """End of the state `waiting`, and of `scoring`, each on the store's clock."""
    gone: float
    state: SessionState = SessionState.WAITING
    lease: float = 0.0
    tries: int = 0
    attempt: str = ""
    answer: bytes | None = None
    was_read: bool = False


class MemoryStore:
    """Keeps sessions in this process, for a service with one replica. A restart forgets them, which refuses tokens."""

    def __init__(self, most: int, times: Times, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no session.

        Args:
            most: most sessions of one caller.
            times: how long states last.
            clock: the current time in seconds; it must never go back.
        """
        self._most = most
        self._times = times
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._of_caller: Counter[str] = Counter()
        self._files: dict[str, float] = {}
        self._swept = clock()

    def __len__(self) -> int:
        """How many sessions and digests are kept."""
        return len(self._sessions) + len(self._files)

    async def open(self, session_id: str, caller: str, kind: SessionKind, ttl_s: float) -> bool:
        """See `SessionStore`."""
        self._sweep(now=self._of_caller[caller] >= self._most)
        if self._of_caller[caller] >= self._most:
            return False
        until = self._clock() + ttl_s
        self._sessions[session_id] = _Session(caller, kind, until, until + self._times.keep_s)
        self._of_caller[caller] += 1
        return True

    async def begin(self, session_id: str, attempt: str) -> Begun | Refusal:
        """See `SessionStore`."""
        session, now = self._find(session_id), self._clock()
        if session is None:
            return Refusal.GONE
        if session.state is SessionState.SCORING and now < session.lease:
            return Refusal.BUSY
        if session.state is not SessionState.WAITING:
            return Refusal.USED
        if now >= session.until:
            return Refusal.EXPIRED
        if session.tries >= MOST_TRIES:
            return Refusal.USED
        session.state, session.attempt = SessionState.SCORING, attempt
        session.tries += 1
        session.lease = now + self._times.lease_s
        session.gone = max(session.gone, session.lease + self._times.keep_s)
        return Begun(session.caller)

    async def release(self, session_id: str, attempt: str, *, counted: bool) -> None:
        """See `SessionStore`."""
        session = self._of_attempt(session_id, attempt)
        if session is not None:
            session.state, session.attempt = SessionState.WAITING, ""
            session.tries -= not counted

    async def finish(self, session_id: str, attempt: str, caller: str, state: SessionState, answer: bytes) -> bool:
        """See `SessionStore`."""
        session = self._of_attempt(session_id, attempt)
        if session is None or session.caller != caller:
            return False
        session.state, session.answer, session.attempt = state, answer, ""
        session.gone = self._clock() + self._times.keep_s
        return True

    async def read(self, session_id: str, caller: str, *, take: bool) -> Found | None:
        """See `SessionStore`."""
        session, now = self._find(session_id), self._clock()
        if session is None or session.caller != caller:
            return None
        if session.state is SessionState.WAITING and now >= session.until:
            return Found(SessionState.EXPIRED, session.kind)
        if session.state is SessionState.SCORING and now >= session.lease:
            return Found(SessionState.FAILED, session.kind)
        found = Found(session.state, session.kind, session.answer if take else None, session.was_read)
        if take and session.state is SessionState.SCORED:
            session.answer, session.was_read = None, True
        return found

    async def is_new(self, digest: str, window_s: float) -> bool:
        """See `SessionStore`."""
        self._sweep()
        if self._files.get(digest, 0.0) > self._clock():
            return False
        self._files.pop(digest, None)
        self._files[digest] = self._clock() + window_s
        if len(self._files) > _MOST_FILES:
            del self._files[next(iter(self._files))]
        return True

    async def forget(self, digest: str) -> None:
        """See `SessionStore`."""
        self._files.pop(digest, None)

    async def close(self) -> None:
        """See `SessionStore`."""

    def _find(self, session_id: str) -> _Session | None:
        session = self._sessions.get(session_id)
        return session if session is not None and self._clock() < session.gone else None

    def _of_attempt(self, session_id: str, attempt: str) -> _Session | None:
        session = self._find(session_id)
        held = session is not None and session.state is SessionState.SCORING and session.attempt == attempt
        return session if held and session is not None and self._clock() < session.lease else None

    def _sweep(self, *, now: bool = False) -> None:
        """Drop what has ended: once a second, or now."""
        time_ = self._clock()
        if not now and time_ < self._swept + 1:
            return
        self._swept = time_
        for session_id in [each for each, session in self._sessions.items() if session.gone <= time_]:
            caller = self._sessions.pop(session_id).caller
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]
        for digest in [each for each, end in self._files.items() if end <= time_]:
            del self._files[digest]
