"""Health probes and metrics. They are answered without a slot for requests, since an overloaded service is alive."""

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from liveness_service.api.access import Service, requires
from liveness_service.api.audit import audit_log
from liveness_service.api.openapi import REFUSED
from liveness_service.api.problems import MEDIA_TYPE, Problem
from liveness_service.errors import StoppingError
from liveness_service.keys import Permission

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Requests are answered: a verified model is loaded, uploads are read, the audit log, if any, can be written."""

    status: Literal["ready"] = "ready"
    model: str
    version: str


@router.get("/health/live", summary="Does the process answer?")
async def check_live() -> Live:
    """Answer while the event loop runs, with or without a model."""
    return Live()


@router.get(
    "/health/ready",
    summary="Are requests answered?",
    responses={
        503: {
            "description": "No; the problem says why: there is no verified model, no worker that reads uploads, or the "
            "audit log cannot be written, or the service is about to stop.",
            "content": {MEDIA_TYPE: {}},
            "model": Problem,
        }
    },
)
async def check_ready(request: Request, service: Service) -> Ready:
    """Answer 200 while requests are scored."""
    if service.stopping:
        raise StoppingError("the service was told to stop: ask another replica")
    manifest = service.model().bundle.manifest
    service.check_workers()
    if (log := audit_log(request)) is not None:
        await log.check()
    return Ready(model=manifest.name, version=manifest.version)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={status: REFUSED[status] for status in (401, 403)},
    dependencies=[Depends(requires(Permission.OPERATIONS, limited=False))],
)
async def read_metrics(request: Request, service: Service) -> Response:
    """Metrics in the exposition format that the scraper asks for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(service.metrics.registry), media_type=content_type)
