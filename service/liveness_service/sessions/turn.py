"""One upload to a session, from the check of its token to its verdict."""

import json
from types import TracebackType
from typing import Any, Self

import structlog

from liveness_service.errors import ServiceError, SessionExpiredError
from liveness_service.observability.metrics import Metrics
from liveness_service.sessions.store import SessionState, SessionStore
from liveness_service.sessions.token import Claims, SessionKeys

log = structlog.get_logger(__name__)


class Turn:
    """One upload to a session, as a context manager: however the upload ends, the session is told."""

    def __init__(
        self,
        store: SessionStore,
        keys: SessionKeys,
        metrics: Metrics,
        claims: Claims,
        caller: str,
        attempt: str,
    ) -> None:
        self.claims = claims
        self.caller = caller
        self._store = store
        self._keys = keys
        self._metrics = metrics
        self._attempt = attempt
        self._arriving = False
        self._looked = False
        self._done = False

    def arrives(self) -> None:
        """The service has room for the upload: from now on it is one of the session's tries."""
        self._arriving = True

    def looks(self) -> None:
        """The file is here and is about to be looked at: from now on the token is used up."""
        self._looked = True

    async def finish(self, answer: bytes) -> None:
        """Keep the verdict.

        Raises:
            SessionExpiredError: the session has ended meanwhile.
            StoreUnavailableError: the store does not answer.
        """
        await self._end(SessionState.SCORED, answer)
        self._done = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._done:
            return
        if isinstance(error, ServiceError):
            error.members["session_state"] = (SessionState.FAILED if self._looked else SessionState.WAITING).value
        try:
            if self._looked:
                await self._end(SessionState.FAILED, json.dumps(_problem_of(error)).encode())
            else:
                await self._store.release(self.claims.session_id, self._attempt, counted=self._arriving)
        except ServiceError as another:  # the first error is the answer; the lease ends the session
            log.warning("session_not_ended", session_id=self.claims.session_id, reason=another.code)

    async def _end(self, state: SessionState, answer: bytes) -> None:
        session_id = self.claims.session_id
        sealed = self._keys.seal_answer(session_id, answer)
        if not await self._store.finish(session_id, self._attempt, self.caller, state, sealed):
            raise SessionExpiredError("this session has ended before its upload was scored: open a new one")
        self._metrics.sessions.labels(self.claims.kind.value, state.value).inc()


def _problem_of(error: BaseException | None) -> dict[str, Any]:
    if isinstance(error, ServiceError):
        return {"code": error.code, "status": error.status, "title": error.title, "detail": error.detail}
    return {
        "code": "internal_error",
        "status": 500,
        "title": "A fault of the service",
        "detail": "the upload was not scored: the service's log has the cause",
    }
