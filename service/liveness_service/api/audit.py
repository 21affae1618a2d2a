"""Verdicts are written to the audit log, where there is one, before they are given."""

import asyncio
import hashlib

from fastapi import Request

from liveness_core.bundle import Manifest
from liveness_service.audit.lines import verdict_line
from liveness_service.audit.log import AuditLog
from liveness_service.observability.stages import stage
from liveness_service.results import Result
from liveness_service.submission import Submission


def audit_log(request: Request) -> AuditLog | None:
    """The app's audit log; None where it keeps none."""
    log = request.app.state.audit
    assert log is None or isinstance(log, AuditLog)
    return log


async def record_verdict(request: Request, submission: Submission, result: Result, manifest: Manifest) -> None:
    """Record a verdict before it is given.

    Raises:
        AuditFailedError: it could not be recorded, so it is not to be given.
    """
    log = audit_log(request)
    if log is None:
        return
    with stage("audit"):
        digest = await asyncio.to_thread(hashlib.sha256, submission.content)
        await log.record(verdict_line(submission, digest.hexdigest(), result, manifest))
