"""Writes each verdict to the audit log, if there is one, before the verdict is given."""

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
    """The app's audit log; None if the settings ask for none."""
    log = request.app.state.audit
    assert log is None or isinstance(log, AuditLog)
    return log


async def record_verdict(request: Request, submission: Submission, result: Result, manifest: Manifest) -> None:
    """Write a verdict to the audit log, if there is one; call this before the verdict is given.

    Raises:
        AuditFailedError: the verdict could not be written, so it must not be given.
    """
    log = audit_log(request)
    if log is None:
        return
    with stage("audit"):
        digest = await asyncio.to_thread(hashlib.sha256, submission.content)
        await log.record(verdict_line(submission, digest.hexdigest(), result, manifest))
