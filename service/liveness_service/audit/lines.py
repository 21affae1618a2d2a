"""Lines of the audit log: who asked, what was answered, by which model, about which file. No picture, no name of it."""

import json
from datetime import UTC, datetime
from typing import Any

from liveness_core.bundle import Manifest
from liveness_service.results import ClipResult, ImageResult

BEGIN = b'{"time"'
"""How every line begins."""


def verdict_line(
    *,
    request_id: str,
    key: str,
    endpoint: str,
    upload_sha256: str,
    result: ImageResult | ClipResult,
    manifest: Manifest,
) -> bytes:
    """One verdict.

    Args:
        request_id: as in the answer.
        key: name of the caller's key.
        endpoint: path of the route.
        upload_sha256: of the file that was sent, without the form around it.
        result: what is answered.
        manifest: of the bundle that decided.
    """
    return _line(
        "verdict",
        request_id=request_id,
        key=key,
        endpoint=endpoint,
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
    """The log can be written again.

    Args:
        failing_since: time of the first failure, as `now` gives it.
        refused: verdicts that were not given meanwhile.
    """
    return _line("resumed", failing_since=failing_since, refused=refused)


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: str, **members: Any) -> bytes:
    return json.dumps({"time": now(), "event": event, **members}, allow_nan=False).encode() + b"\n"
