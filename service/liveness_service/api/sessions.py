"""`/v1/sessions`: a back end opens a session, a browser uploads to it by its token, the back end reads the verdict."""

from collections.abc import Coroutine
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Path, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from liveness_service.access.policy import Caller, Mode
from liveness_service.access.rate import network_of
from liveness_service.api.access import GuardedRoute, Service, gate_of, requires
from liveness_service.api.context import CLIENT_CLOSED
from liveness_service.api.methods import AS_HEAD
from liveness_service.api.openapi_sessions import (
    CLOSED,
    ENDED,
    OPEN_REFUSED,
    SESSION_BODY,
    SESSION_DESCRIPTION,
    SESSION_RESPONSES,
    UNKNOWN_SESSION,
)
from liveness_service.api.schemas import ClipResponse, LivenessResponse
from liveness_service.api.scoring import answer_upload, sessions_of
from liveness_service.api.state import request_state
from liveness_service.errors import InvalidParameterError
from liveness_service.keys import Permission
from liveness_service.results import Result
from liveness_service.sessions.sessions import Outcome
from liveness_service.sessions.store import SessionState
from liveness_service.sessions.token import SessionKind
from liveness_service.submission import ScoreOptions

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=GuardedRoute)
_OF_CALLERS = [Depends(requires(Permission.SCORE))]
_TOKEN = HTTPBearer(
    scheme_name="session_token",
    description="The token of the session in the path (docs/browsers.md).",
    auto_error=False,
)
SessionId = Annotated[str, Path(max_length=64, description="`session_id` of the answer that opened it.")]


class SessionWanted(BaseModel):
    """The session that is to be opened."""

    model_config = ConfigDict(extra="forbid")

    kind: SessionKind = Field(description="What will be uploaded.")
    operating_point: str | None = Field(
        default=None,
        max_length=100,
        description="Name of a threshold (see /v1/models); the bundle's default one if absent.",
    )
    ttl_s: int | None = Field(
        default=None,
        ge=1,
        description="Seconds in which the upload may begin; at most, and if absent, LIVENESS_SESSION_TTL_S.",
    )


class SessionOut(BaseModel):
    """A new session."""

    session_id: str
    token: str = Field(description="For the browser: it lets one file be uploaded to this session, and nothing else.")
    kind: SessionKind
    expires_at: datetime = Field(description="Until when the upload may begin, UTC.")
    upload_url: str = Field(
        description="Path of the upload, with LIVENESS_ROOT_PATH; relative to where browsers reach the service."
    )


class UploadedOut(BaseModel):
    """The upload is done. What came out is for the back end."""

    session_id: str
    state: SessionState


class FailureOut(BaseModel):
    """Why an upload could not be scored: as the problem that the browser got."""

    code: str
    status: int
    title: str
    detail: str


class SessionResultOut(BaseModel):
    """Where a session stands, and its verdict."""

    session_id: str
    kind: SessionKind
    state: SessionState
    # The longer one first: generated clients take the first whose fields are there.
    result: ClipResponse | LivenessResponse | None = Field(
        description="With `scored`: the answer of /v1/liveness or /v1/liveness/video. It is given once; null otherwise."
    )
    problem: FailureOut | None = Field(description="With `failed`: why; null otherwise, or if the replica was lost.")

    @classmethod
    def of(cls, session_id: str, outcome: Outcome) -> Self:
        """Make the answer."""
        answer = ClipResponse if outcome.kind is SessionKind.CLIP else LivenessResponse
        return cls(
            session_id=session_id,
            kind=outcome.kind,
            state=outcome.state,
            result=None if outcome.result is None else answer.model_validate(outcome.result),
            problem=None if outcome.problem is None else FailureOut.model_validate(outcome.problem),
        )


@router.post(
    "", status_code=201, summary="Open a session for one upload", responses=OPEN_REFUSED, dependencies=_OF_CALLERS
)
async def open_session(request: Request, wanted: SessionWanted, service: Service) -> SessionOut:
    """Open a session. Hand `token` and `upload_url` to the browser, and keep `session_id`.

    The token lets a browser upload one photo or clip to this session, once, until it expires. It is no access key.
    """
    most = service.settings.session_ttl_s
    if wanted.ttl_s is not None and wanted.ttl_s > most:
        raise InvalidParameterError(f"ttl_s: at most {most} seconds (LIVENESS_SESSION_TTL_S is the limit)")
    with service.registry.active().in_use():
        service.registry.active().pipeline(wanted.kind.endpoint).operating_point(wanted.operating_point)
    caller = request_state(request).caller_name
    opened = await sessions_of(request).open(caller, wanted.kind, wanted.operating_point, wanted.ttl_s or most)
    return SessionOut(
        session_id=opened.session_id,
        token=opened.token,
        kind=wanted.kind,
        expires_at=opened.expires_at,
        upload_url=f"{service.settings.root_path}/v1/sessions/{opened.session_id}/upload",
    )


@router.post(
    "/{session_id}/upload",
    status_code=202,
    summary="Upload the photo or clip of a session",
    description=SESSION_DESCRIPTION,
    response_model=UploadedOut,
    responses=SESSION_RESPONSES,
    openapi_extra={"requestBody": SESSION_BODY},
    dependencies=[Security(_TOKEN)],
)
async def upload_to_session(request: Request, session_id: SessionId, service: Service) -> Response:
    """Score the session's file, and keep the verdict for its caller."""
    state = request_state(request)
    async with await sessions_of(request).begin(_token(request), session_id) as turn:
        state.caller = Caller(turn.caller)
        # End users of a caller with a key count as that caller; without keys, each address counts for itself.
        address = request.client.host if request.client else ""
        state.limited_as = turn.caller if gate_of(request).policy.mode is Mode.KEYS else network_of(address)
        options = ScoreOptions(turn.claims.operating_point)
        try:
            # Scored to its end even if the browser is gone: the answer is for the back end.
            answer = await answer_upload(
                request, service, turn.claims.kind.endpoint, options, score=_to_its_end, turn=turn
            )
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED)
        await turn.finish(answer.model_dump_json().encode())
    told = UploadedOut(session_id=session_id, state=SessionState.SCORED)
    return Response(told.model_dump_json(), status_code=202, media_type="application/json")


@router.get(
    "/{session_id}",
    summary="Read the verdict of a session",
    responses=CLOSED | UNKNOWN_SESSION | ENDED,
    dependencies=_OF_CALLERS,
)
async def read_session(request: Request, session_id: SessionId) -> SessionResultOut:
    """Where the session stands. A verdict is given once, to the key that opened the session, and then forgotten.

    Do not repeat this request by itself: a verdict whose answer was lost is gone (the audit log has it), and the person
    takes another picture.
    """
    take = AS_HEAD not in request.scope  # HEAD looks, and takes nothing away
    outcome = await sessions_of(request).read(session_id, request_state(request).caller_name, take=take)
    return SessionResultOut.of(session_id, outcome)


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    return await work


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
