"""`POST /v1/liveness`."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from liveness_service.api.access import Service
from liveness_service.api.context import CLIENT_CLOSED
from liveness_service.api.examples import IMAGE_BODY, IMAGE_DESCRIPTION, IMAGE_RESPONSES
from liveness_service.api.schemas import LivenessQuery, LivenessResponse
from liveness_service.api.upload import read_upload

router = APIRouter(prefix="/v1", tags=["liveness"])

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
    with service.admit():
        service.check_operating_point(query.operating_point)
        try:
            content = await read_upload(
                request, "image", max_bytes=settings.max_upload_bytes, timeout_ms=settings.upload_timeout_ms
            )
            result = await _unless_disconnected(request, service.score(content, query.options()))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED)
    service.metrics.concluded("/v1/liveness", result)
    state = request.scope["state"]
    answer = LivenessResponse.of(state["request_id"], result, service.model())
    state["log"] = {
        "verdict": answer.verdict.value,
        "reasons": answer.reasons,
        "score": answer.score,
        "operating_point": answer.operating_point,
        "model_version": answer.model.version,
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
