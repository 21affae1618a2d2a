"""What routes need of the app, typed."""

from typing import Annotated

from fastapi import Depends, Request

from liveness_service.inference.service import LivenessService


def _service(request: Request) -> LivenessService:
    service = request.app.state.service
    assert isinstance(service, LivenessService)
    return service


Service = Annotated[LivenessService, Depends(_service)]
