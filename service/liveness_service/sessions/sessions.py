"""Capture sessions: a back end opens one, a browser uploads to it with a token, the back end reads the verdict once."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import structlog

from liveness_service.errors import (
    InvalidTokenError,
    SessionExpiredError,
    SessionInUseError,
    SessionNotFoundError,
    SessionReadError,
    SessionUsedError,
    StoreUnavailableError,
    TooManySessionsError,
)
from liveness_service.observability.metrics import Metrics
from liveness_service.rates import MEMORY
from liveness_service.sessions.redis_store import RedisStore
from liveness_service.sessions.seen import SeenFiles
from liveness_service.sessions.store import Begun, Found, MemoryStore, Refusal, SessionState, SessionStore, Times
from liveness_service.sessions.token import Claims, SessionKeys, SessionKind, new_session_id, read_session_key
from liveness_service.sessions.turn import Turn
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)

_LEASE_MORE_S = 30.0
"""How much longer an upload may be in work than its own limits say, before its session counts as lost."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session."""

    session_id: str
    token: str
    expires_at: datetime
    """When its token ends, by this machine's clock; the store's own decides."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a session stands, and what came out."""

    state: SessionState
    kind: SessionKind
    result: Mapping[str, Any] | None = None
    """The answer of a scored session, as the routes for plain uploads give it."""
    problem: Mapping[str, Any] | None = None
    """Why a session failed: code, status, title and detail."""


class Sessions:
    """All sessions of the service."""

    def __init__(self, store: SessionStore, keys: SessionKeys, settings: Settings, metrics: Metrics) -> None:
        self.seen = SeenFiles(store, keys, settings.seen_window_s)
        """The files that were sent."""
        self._store = store
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._must_warn = settings.session_key_file is None

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Self:
        """Make them as the settings say.

        Raises:
            ValueError: the store or the key cannot be used; the message names the setting.
        """
        photo_ms = settings.upload_timeout_ms + settings.deadline_ms
        clip_ms = settings.clip_upload_timeout_ms + settings.clip_deadline_ms
        times = Times(_LEASE_MORE_S + max(photo_ms, clip_ms) / 1000, settings.session_result_s)
        store: SessionStore = MemoryStore(settings.max_sessions, times)
        if settings.session_store != MEMORY:
            if settings.session_key_file is None:
                raise ValueError(
                    "LIVENESS_SESSION_KEY_FILE: replicas that share sessions through LIVENESS_SESSION_STORE need one "
                    "key: make it with `openssl rand -hex 32`"
                )
            try:
                store = RedisStore(settings.session_store, settings.max_sessions, times, metrics)
            except ValueError as error:
                raise ValueError(f"LIVENESS_SESSION_STORE: {error}") from error
        try:
            key = read_session_key(settings.session_key_file)
        except ValueError as error:
            raise ValueError(f"LIVENESS_SESSION_KEY_FILE: {error}") from error
        return cls(store, SessionKeys(key), settings, metrics)

    async def open(self, caller: str, kind: SessionKind, operating_point: str | None, ttl_s: int) -> Opened:
        """Open a session.

        Raises:
            TooManySessionsError: the caller has as many as it may have.
            StoreUnavailableError: the store does not answer.
        """
        if self._must_warn:  # now, and not at start: most services without a key open no sessions
            self._must_warn = False
            log.warning(
                "session_key_is_random",
                note="tokens end with this process, and another replica refuses them: set LIVENESS_SESSION_KEY_FILE",
            )
        settings, session_id = self._settings, new_session_id()
        most = settings.max_clip_bytes if kind is SessionKind.CLIP else settings.max_upload_bytes
        token = self._keys.sign(Claims(session_id, kind, operating_point, most, self._keys.mark_of(caller)))
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
        if not await self._store.open(session_id, caller, kind, ttl_s):
            raise TooManySessionsError(
                f"{settings.max_sessions:,} sessions of {caller} are kept, and no more are opened: wait until some "
                "have ended (LIVENESS_MAX_SESSIONS is the limit)"
            )
        self._count(kind, "opened")
        return Opened(session_id, token, expires_at)

    async def begin(self, token: str | None, session_id: str) -> Turn:
        """Begin the upload to a session; use the result as a context manager.

        Args:
            token: what came with the request; None without one.
            session_id: the session in the request's path.

        Raises:
            InvalidTokenError: there is no token, it is forged, or it is that of another session.
            SessionExpiredError: the session's time is over.
            SessionUsedError: the token was used.
            SessionInUseError: another upload with this token is in work.
            StoreUnavailableError: the store does not answer.
        """
        claims = None if token is None else self._keys.verify(token)
        if claims is None or not secrets.compare_digest(claims.session_id.encode(), session_id.encode()):
            raise InvalidTokenError(
                "this path needs the token of its session: send the header `Authorization: Bearer TOKEN`, with the "
                "token that came with this session_id"
            )
        attempt = secrets.token_hex(8)
        begun = await self._store.begin(session_id, attempt)
        if isinstance(begun, Begun) and self._keys.mark_of(begun.caller) == claims.caller_mark:
            return Turn(self._store, self._keys, self._metrics, claims, begun.caller, attempt)
        match begun:
            case Refusal.BUSY:
                raise SessionInUseError("another upload to this session is in work: wait for its answer")
            case Refusal.USED:
                raise SessionUsedError("the token of this session was used: open a new session for another capture")
            case _:
                raise SessionExpiredError("this session has ended: open a new one")

    async def read(self, session_id: str, caller: str, *, take: bool = True) -> Outcome:
        """Read a session. A verdict is given once.

        Args:
            session_id: the session.
            caller: name of the key that asks.
            take: whether the verdict is wanted; without, it stays.

        Raises:
            SessionNotFoundError: there is no such session of this caller.
            SessionReadError: the verdict was read.
            StoreUnavailableError: the store does not answer.
        """
        found = await self._store.read(session_id, caller, take=take)
        if found is None:
            raise SessionNotFoundError(
                "this key has no session of this id: check the id, and whether the session ended long ago"
            )
        if found.was_read:
            raise SessionReadError("the verdict of this session was read: it is given once")
        content = self._content(session_id, found)
        if found.state is SessionState.SCORED:
            if take:
                self._count(found.kind, "read")
            return Outcome(found.state, found.kind, result=content)
        return Outcome(found.state, found.kind, problem=content)

    async def close(self) -> None:
        """Close the connection to the store."""
        await self._store.close()

    def _content(self, session_id: str, found: Found) -> Mapping[str, Any] | None:
        if found.answer is None:
            return None
        answer = self._keys.open_answer(session_id, found.answer)
        if answer is None:
            log.error("session_answer_is_not_ours", session_id=session_id)
            raise StoreUnavailableError(
                "the stored answer of this session was changed, or was sealed with another key: check who may write to "
                "LIVENESS_SESSION_STORE, and that all replicas have one LIVENESS_SESSION_KEY_FILE"
            )
        content: Mapping[str, Any] = json.loads(answer)
        return content

    def _count(self, kind: SessionKind, event: str) -> None:
        self._metrics.sessions.labels(kind.value, event).inc()
