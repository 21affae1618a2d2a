"""`POST /v1/liveness` and `POST /v1/liveness/video`."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from liveness_service.api.access import Service, requires
from liveness_service.api.audit import record_verdict
from liveness_service.api.context import CLIENT_CLOSED
from liveness_service.api.examples import (
    CLIP_BODY,
    CLIP_DESCRIPTION,
    CLIP_RESPONSES,
    IMAGE_BODY,
    IMAGE_DESCRIPTION,
    IMAGE_RESPONSES,
)
from liveness_service.api.schemas import ClipQuery, ClipResponse, LivenessQuery, LivenessResponse
from liveness_service.api.state import request_state
from liveness_service.api.upload import Expected, read_upload
from liveness_service.keys import Permission
from liveness_service.settings import Settings

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
    state, options = request_state(request), query.options()
    with service.admit(state.request_id) as engine:
        engine.photos.operating_point(options.operating_point)  # an unknown one is refused before the file is read
        try:
            content = await read_upload(request, _image(service.settings))
            result = await _unless_disconnected(request, service.score(content, options, engine))
            await record_verdict(request, "/v1/liveness", content, result, engine.model)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED)
        service.concluded(engine, "/v1/liveness", state.request_id, content, options, result, state.caller_name)
        return _answer(request, LivenessResponse.of(state.request_id, result, engine.model))


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
    state, options = request_state(request), query.options()
    with service.admit_clip(state.request_id) as engine:
        engine.clips.operating_point(options.operating_point)  # an unknown one is refused before the file is read
        try:
            content = await read_upload(request, _clip(service.settings))
            result = await _unless_disconnected(request, service.score_clip(content, options, engine))
            await record_verdict(request, "/v1/liveness/video", content, result, engine.model)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED)
        service.concluded(engine, "/v1/liveness/video", state.request_id, content, options, result, state.caller_name)
        return _answer(request, ClipResponse.of(state.request_id, result, engine.model))


def _image(settings: Settings) -> Expected:
    return Expected(
        field="image",
        noun="image",
        example="photo.jpg",
        max_bytes=settings.max_upload_bytes,
        limit_setting="LIVENESS_MAX_UPLOAD_BYTES",
        timeout_ms=settings.upload_timeout_ms,
    )


def _clip(settings: Settings) -> Expected:
    return Expected(
        field="video",
        noun="clip",
        example="clip.mp4",
        max_bytes=settings.max_clip_bytes,
        limit_setting="LIVENESS_MAX_CLIP_BYTES",
        timeout_ms=settings.clip_upload_timeout_ms,
    )


def _answer(request: Request, answer: LivenessResponse | ClipResponse) -> Response:
    request_state(request).outcome = {
        "verdict": answer.verdict.value,
        "reasons": answer.reasons,
        "score": answer.score,
        "operating_point": answer.operating_point,
        "model": answer.model.name,
        "model_version": answer.model.version,
        "faces": len(answer.faces),
    }
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which is cancelled as soon as its client hangs up: nobody would read it.

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
