"""Writing verdicts to the audit log, where there is one."""

import asyncio
import hashlib

from fastapi import Request

from liveness_service.api.state import request_state
from liveness_service.audit.lines import verdict_line
from liveness_service.audit.log import AuditLog
from liveness_service.observability.tracing import stage
from liveness_service.results import ClipResult, ImageResult
from liveness_service.scoring.model import Model


def audit_log(request: Request) -> AuditLog | None:
    """The app's audit log; None where it keeps none."""
    log = request.app.state.audit
    assert log is None or isinstance(log, AuditLog)
    return log


async def record_verdict(
    request: Request, endpoint: str, content: bytes, result: ImageResult | ClipResult, model: Model
) -> None:
    """Record a verdict before it is given.

    Raises:
        AuditFailedError: it could not be recorded, so it is not to be given.
    """
    log = audit_log(request)
    if log is None:
        return
    state = request_state(request)
    with stage("audit"):
        digest = await asyncio.to_thread(hashlib.sha256, content)
        await log.record(
            verdict_line(
                request_id=state.request_id,
                key=state.caller_name,
                endpoint=endpoint,
                upload_sha256=digest.hexdigest(),
                result=result,
                manifest=model.bundle.manifest,
            )
        )
