"""`POST /v1/liveness` and `POST /v1/liveness/video`: score a photo or a clip."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from liveness_service.api.access import Service, requires
from liveness_service.api.context import CLIENT_CLOSED
from liveness_service.api.direct import UploadRoute
from liveness_service.api.openapi import (
    CLIP_BODY,
    CLIP_DESCRIPTION,
    CLIP_RESPONSES,
    IMAGE_BODY,
    IMAGE_DESCRIPTION,
    IMAGE_RESPONSES,
)
from liveness_service.api.schemas import ClipQuery, ClipResponse, LivenessQuery, LivenessResponse
from liveness_service.api.scoring import answer_upload, until_disconnected
from liveness_service.keys import Permission
from liveness_service.service import LivenessService
from liveness_service.submission import Endpoint, ScoreOptions

router = APIRouter(
    prefix="/v1", tags=["liveness"], dependencies=[Depends(requires(Permission.SCORE))], route_class=UploadRoute
)


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
    return await _score(request, service, Endpoint.PHOTO, query.options())


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
    return await _score(request, service, Endpoint.CLIP, query.options())


async def _score(request: Request, service: LivenessService, endpoint: Endpoint, options: ScoreOptions) -> Response:
    """Handle an upload, and answer with its verdict."""
    try:
        answer = await answer_upload(request, service, endpoint, options, score=until_disconnected(request))
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
