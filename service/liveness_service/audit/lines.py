"""The lines of the audit log: which caller got which answer, from which model, about which file. They hold no picture
and no file name.
"""

import json
from datetime import UTC, datetime
from typing import Any

from liveness_core.bundle import Manifest
from liveness_service.results import Result
from liveness_service.submission import Submission

BEGIN = b'{"time"'
"""How every line begins."""


def verdict_line(submission: Submission, upload_sha256: str, result: Result, manifest: Manifest) -> bytes:
    """Make the line for one verdict.

    Args:
        submission: the upload and its caller.
        upload_sha256: digest of the uploaded file, without the form around it, hexadecimal.
        result: the verdict.
        manifest: the manifest of the bundle that decided.
    """
    return _line(
        "verdict",
        request_id=submission.request_id,
        key=submission.caller,
        endpoint=submission.endpoint.value,
        verdict=result.verdict.value,
        reasons=list(result.reasons),
        score=result.score,
        threshold=result.threshold,
        operating_point=result.operating_point,
        model={
            "name": manifest.name,
            "version": manifest.version,
            "manifest_sha256": manifest.manifest_sha256,
        },
        upload_sha256=upload_sha256,
        **({"session_id": submission.session_id} if submission.session_id else {}),
    )


def resumed_line(failing_since: str, refused: int) -> bytes:
    """Make the line that says that the log can be written again.

    Args:
        failing_since: time of the first failure, as `now` gives it.
        refused: how many verdicts were not given in between.
    """
    return _line("resumed", failing_since=failing_since, refused=refused)


def now() -> str:
    """The current time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: str, **members: Any) -> bytes:
    return json.dumps({"time": now(), "event": event, **members}, allow_nan=False).encode() + b"\n"
