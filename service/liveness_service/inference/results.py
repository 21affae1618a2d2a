"""What the service concludes. A score is the probability of live, in [0, 1]; higher is always more live."""

from dataclasses import dataclass, field
from enum import StrEnum

from liveness_core.types import DetectedFace, Quality


class Verdict(StrEnum):
    """`undetermined` is an answer and never a pass."""

    LIVE = "live"
    SPOOF = "spoof"
    UNDETERMINED = "undetermined"


class FacePolicy(StrEnum):
    """Which faces of a picture count."""

    SINGLE = "single"
    """There must be exactly one."""
    LARGEST = "largest"
    """The largest one; the others are ignored."""
    ALL = "all"
    """Each one; the picture is live only if every face is."""


NO_FACE = "no_face"
MULTIPLE_FACES = "multiple_faces"
TOO_MANY_FACES = "too_many_faces"


@dataclass(frozen=True, slots=True)
class FaceResult:
    """One face."""

    face: DetectedFace
    quality: Quality
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why the verdict is `undetermined`; empty otherwise."""
    score: float | None = None
    """None where the face was not scored."""
    heatmap_png: bytes | None = None
    """Class activation map over the crop that was scored; None unless asked for."""


@dataclass(slots=True)
class Timings:
    """Where the time went, milliseconds; 0 for what was not needed."""

    decode: float = 0.0
    detect: float = 0.0
    align: float = 0.0
    """Crop and quality measures."""
    queue: float = 0.0
    """From the crop being ready to its batch being started; the longest of the faces'."""
    infer: float = 0.0
    """Run of the batch, the encoder and the classifier; the longest of the faces'."""
    total: float = 0.0
    """From the image having arrived to the answer."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The answer for one picture."""

    verdict: Verdict
    reasons: tuple[str, ...]
    score: float | None
    """Of the face that decides: the only one, or the least live of all. None where the verdict is undetermined."""
    threshold: float
    """A score at or above it is live."""
    operating_point: str
    faces: tuple[FaceResult, ...]
    width: int
    """Of the upright picture, pixels."""
    height: int
    timings_ms: Timings = field(default_factory=Timings)
