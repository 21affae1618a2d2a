"""Lines of the audit log: who asked, what was answered, by which model, about which file. They hold no picture and no
file name.
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
    """The line of one verdict.

    Args:
        submission: what was asked, and by whom.
        upload_sha256: digest of the file that was sent, without the form around it, hexadecimal.
        result: what is answered.
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
    )


def resumed_line(failing_since: str, refused: int) -> bytes:
    """The line that says that the log can be written again.

    Args:
        failing_since: time of the first failure, as `now` gives it.
        refused: verdicts that were not given meanwhile.
    """
    return _line("resumed", failing_since=failing_since, refused=refused)


def now() -> str:
    """The time in UTC to the millisecond, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: str, **members: Any) -> bytes:
    return json.dumps({"time": now(), "event": event, **members}, allow_nan=False).encode() + b"\n"
