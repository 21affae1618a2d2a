"""What is asked of the service: an upload, and how it is to be judged."""

from dataclasses import dataclass, field
from enum import StrEnum


class Endpoint(StrEnum):
    """The two ways in, by path. The label `endpoint` of metrics and the audit log has the same words."""

    PHOTO = "/v1/liveness"
    CLIP = "/v1/liveness/video"


class FacePolicy(StrEnum):
    """Which faces of a picture count."""

    SINGLE = "single"
    """There must be exactly one."""
    LARGEST = "largest"
    """The largest one; the others are ignored."""
    ALL = "all"
    """Each one; the picture is live only if every face is."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How an upload is to be judged."""

    operating_point: str | None = None
    """Name of a threshold in the bundle; None for its default one."""
    faces: FacePolicy = FacePolicy.SINGLE
    explain: bool = False
    """Whether a heat map is wanted."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One upload to be scored."""

    endpoint: Endpoint
    content: bytes = field(repr=False)
    """The file as it came."""
    options: ScoreOptions = field(default_factory=ScoreOptions)
    request_id: str = ""
    """The id that the answer has; shares of requests are told by it. Empty outside of a request."""
    caller: str = "none"
    """Name of the caller's access key; `none` without one."""
