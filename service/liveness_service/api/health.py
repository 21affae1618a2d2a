"""Probes and metrics. They pass by admission: an overloaded service is alive."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from liveness_service.api.access import Service
from liveness_service.api.problems import MEDIA_TYPE, Problem

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """A verified model is loaded."""

    status: Literal["ready"] = "ready"
    model: str
    version: str


@router.get("/health/live", summary="Does the process answer?")
async def live() -> Live:
    """Answer while the event loop runs, with or without a model."""
    return Live()


@router.get(
    "/health/ready",
    summary="Is a verified model loaded?",
    responses={
        503: {
            "description": "No; the problem names the file and the reason.",
            "content": {MEDIA_TYPE: {}},
            "model": Problem,
        }
    },
)
async def ready(service: Service) -> Ready:
    """Answer 200 once requests are scored."""
    manifest = service.model().bundle.manifest
    return Ready(model=manifest.name, version=manifest.version)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request, service: Service) -> Response:
    """Metrics in the exposition format that the scraper asks for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(service.metrics.registry), media_type=content_type)
