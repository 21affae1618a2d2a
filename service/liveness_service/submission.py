"""What a caller submits: the uploaded file, and how it is to be judged."""

from dataclasses import dataclass, field
from enum import StrEnum


class Endpoint(StrEnum):
    """The paths that take uploads. The label `endpoint` of metrics and the audit log use the same text."""

    PHOTO = "/v1/liveness"
    CLIP = "/v1/liveness/video"


class FacePolicy(StrEnum):
    """Which faces of a picture count."""

    SINGLE = "single"
    """The picture must have exactly one face."""
    LARGEST = "largest"
    """The largest face counts; the others are ignored."""
    ALL = "all"
    """Every face counts; the picture is live only if all faces are."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How an upload is to be judged."""

    operating_point: str | None = None
    """Name of a threshold in the bundle; None for the bundle's default."""
    faces: FacePolicy = FacePolicy.SINGLE
    explain: bool = False
    """Whether to make a heat map of each scored face."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One upload to be scored."""

    endpoint: Endpoint
    content: bytes = field(repr=False)
    """The uploaded file, unchanged."""
    options: ScoreOptions = field(default_factory=ScoreOptions)
    request_id: str = ""
    """The id in the answer, which may be the client's own. Empty on the command line."""
    caller: str = "none"
    """Name of the caller's access key; `none` without one."""
    draw: str = field(default="", repr=False)
    """Random text, unknown to the client, that decides whether a shadow scores the request."""
    session_id: str = ""
    """The capture session that the upload belongs to; empty for a plain upload."""
