"""`POST /v1/liveness` and `POST /v1/liveness/video`: score a photo or a clip."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from liveness_service.api.access import Service, requires
from liveness_service.api.audit import record_verdict
from liveness_service.api.context import CLIENT_CLOSED
from liveness_service.api.openapi import (
    CLIP_BODY,
    CLIP_DESCRIPTION,
    CLIP_RESPONSES,
    IMAGE_BODY,
    IMAGE_DESCRIPTION,
    IMAGE_RESPONSES,
)
from liveness_service.api.schemas import ClipQuery, ClipResponse, LivenessQuery, LivenessResponse, answer_of
from liveness_service.api.state import request_state
from liveness_service.api.upload import Expected, read_upload
from liveness_service.errors import DeadlineExceededError
from liveness_service.keys import Permission
from liveness_service.service import LivenessService
from liveness_service.submission import Endpoint, ScoreOptions, Submission

router = APIRouter(prefix="/v1", tags=["liveness"], dependencies=[Depends(requires(Permission.SCORE))])

_T = TypeVar("_T")


@router.post(
    "/liveness",
    summary="Is the face in this photo live?",
    description=IMAGE_DESCRIPTION,
    response_model=LivenessResponse,
    response_model_exclude_unset=False,
    responses=IMAGE_RESPONSES,
    openapi_extra={"requestBody": IMAGE_BODY},
)
async def score_image(request: Request, query: Annotated[LivenessQuery, Query()], service: Service) -> Response:
    """Score one photo."""
    settings = service.settings
    expected = Expected(
        field="image",
        noun="image",
        example="photo.jpg",
        max_bytes=settings.max_upload_bytes,
        limit_setting="LIVENESS_MAX_UPLOAD_BYTES",
        timeout_ms=settings.upload_timeout_ms,
        min_rate=settings.min_upload_rate,
    )
    return await _score(request, service, Endpoint.PHOTO, expected, query.options())


@router.post(
    "/liveness/video",
    summary="Is the face in this clip live?",
    description=CLIP_DESCRIPTION,
    response_model=ClipResponse,
    response_model_exclude_unset=False,
    responses=CLIP_RESPONSES,
    openapi_extra={"requestBody": CLIP_BODY},
)
async def score_clip(request: Request, query: Annotated[ClipQuery, Query()], service: Service) -> Response:
    """Score one clip."""
    settings = service.settings
    expected = Expected(
        field="video",
        noun="clip",
        example="clip.mp4",
        max_bytes=settings.max_clip_bytes,
        limit_setting="LIVENESS_MAX_CLIP_BYTES",
        timeout_ms=settings.clip_upload_timeout_ms,
        min_rate=settings.min_upload_rate,
    )
    return await _score(request, service, Endpoint.CLIP, expected, query.options())


async def _score(
    request: Request, service: LivenessService, endpoint: Endpoint, expected: Expected, options: ScoreOptions
) -> Response:
    """Handle an upload: read the file, take a slot, score it, record the verdict, answer."""
    state = request_state(request)
    whole_s = (expected.timeout_ms + service.deadline_ms(endpoint)) / 1000
    try:
        async with asyncio.timeout(whole_s):
            answer = await _answered(request, service, endpoint, expected, options)
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED)
    except TimeoutError as error:
        raise DeadlineExceededError(f"no answer within {whole_s:g} s of the request's first byte") from error
    state.outcome = {
        "verdict": answer.verdict.value,
        "reasons": [reason.value for reason in answer.reasons],
        "score": answer.score,
        "operating_point": answer.operating_point,
        "model": answer.model.name,
        "model_version": answer.model.version,
        "faces": len(answer.faces),
    }
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _answered(
    request: Request, service: LivenessService, endpoint: Endpoint, expected: Expected, options: ScoreOptions
) -> LivenessResponse | ClipResponse:
    state = request_state(request)
    with service.receive(endpoint, state.draw, state.limited_as) as (engine, upload):
        # This refuses an unknown operating point before the file is read.
        engine.pipeline(endpoint).operating_point(options.operating_point)
        content = await read_upload(request, expected, upload)
        with service.admit(endpoint, caller=state.limited_as, engine=engine):
            upload.arrived()
            submission = Submission(endpoint, content, options, state.request_id, state.caller_name, state.draw)
            result = await _unless_disconnected(request, service.score(submission, engine))
            await record_verdict(request, submission, result, engine.manifest)
            service.concluded(engine, submission, result)
            return answer_of(state.request_id, result, engine.model)


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Wait for the result of `work`, and cancel it as soon as the client hangs up, since nobody would read the result.

    Raises:
        ClientDisconnect: the client went away first.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
