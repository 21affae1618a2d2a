"""Answers errors with `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from liveness_service.api.methods import allowed_methods
from liveness_service.api.state import request_state, state_of
from liveness_service.errors import InvalidParameterError, ServiceError
from liveness_service.observability.metrics import Metrics
from liveness_service.shown import shown

MEDIA_TYPE = "application/problem+json"
CODES: Final[Mapping[str, str]] = {
    **{kind.code: (kind.__doc__ or "").partition(".")[0] + "." for kind in ServiceError.__subclasses__()},
    "bad_request": "The body of an operation is not JSON.",
    "not_found": "There is nothing at this path.",
    "method_not_allowed": "The path does not take this method; the header `Allow` lists those that it takes.",
    "internal_error": "A fault of the service; its log has the cause.",
}
"""What each code means. Codes never change within v1; later versions have more."""


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URN of the kind of problem; ends in `code`.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What happened and what to check.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="Stable name for programs.")
    request_id: str = Field(description="Also in the header `X-Request-ID` and in the service's log.")


class ProblemResponse(JSONResponse):
    """The HTTP response that carries a problem."""

    media_type = MEDIA_TYPE


def problem(
    scope: Scope,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> ProblemResponse:
    """Make the response for a problem.

    Args:
        scope: the ASGI scope of the request.
        status: HTTP status.
        code: stable name of the kind of problem, for programs.
        title: the kind of problem in words.
        detail: what happened and what to check.
        headers: further HTTP headers.
        members: further members of the JSON object.
    """
    content = {
        "type": f"urn:face-liveness:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": scope["path"],
        "code": code,
        "request_id": state_of(scope).request_id,
        **(members or {}),
    }
    return ProblemResponse(content, status, headers)


def internal_error(scope: Scope, request_id: str) -> ProblemResponse:
    """Make the answer to a fault of the service. It reveals nothing, except where an operator finds the cause."""
    return problem(
        scope,
        status=500,
        code="internal_error",
        title="A fault of the service",
        detail=f"the service's log has the cause under request_id {request_id}",
    )


def install_handlers(app: FastAPI, metrics: Metrics, *, docs: bool = True) -> None:
    """Make the app answer every error with a problem; messages point to `/docs` if there are `docs`."""
    see_docs = ": see /docs" if docs else ""

    async def service_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, ServiceError)  # the type that the handler is registered for
        metrics.rejected.labels(error.code).inc()
        request_state(request).outcome = {"code": error.code, "detail": error.detail}
        return problem(
            request.scope,
            status=error.status,
            code=error.code,
            title=error.title,
            detail=error.detail,
            headers=error.headers,
            members=error.members,
        )

    async def invalid_request(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, RequestValidationError)
        faults = [
            f"{shown('.'.join(str(part) for part in fault['loc'][1:]) or str(fault['loc'][0]))}: {fault['msg']}"
            for fault in error.errors()
        ]
        return await service_error(request, InvalidParameterError("; ".join(faults)))

    async def http_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        details = {
            404: f"there is nothing at this path{see_docs}",
            405: f"this path does not take {request.method} requests{see_docs}",
        }
        return problem(
            request.scope,
            status=status.value,
            code=status.name.lower(),
            title=status.phrase,
            detail=details.get(status, str(error.detail)),
            headers={"Allow": allowed_methods(request.scope)} if status == 405 else error.headers,
        )

    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
