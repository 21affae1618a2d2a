"""The answer to a request that never reaches the app: the same problem document, written by hand."""

import json
from http import HTTPStatus

from ulid import ULID

from liveness_service.errors import ServiceError


def written(error: ServiceError) -> tuple[str, bytes]:
    """A whole HTTP answer that closes the connection, and the id by which the log knows it."""
    request_id = str(ULID())
    status = HTTPStatus(error.status)
    body = json.dumps(
        {
            "type": f"urn:face-liveness:problem:{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": "",
            "code": error.code,
            "request_id": request_id,
            **error.members,
        }
    ).encode()
    fields = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Request-ID": request_id,
        **error.headers,
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return request_id, "\r\n".join([*lines, "", ""]).encode("ascii") + body
