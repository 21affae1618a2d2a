"""What the service concludes. A score is the probability of live, in [0, 1]; higher is always more live."""

from dataclasses import dataclass, field
from enum import StrEnum

from liveness_core.types import Box, DetectedFace, Quality


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
TOO_FEW_FRAMES = "too_few_frames"
CLIP_TOO_SHORT = "clip_too_short"
FACE_CHANGED = "face_changed"
FRAME_UNREADABLE = "frame_unreadable"


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
    """Run of the batch, the encoder and the classifier, and of a clip's temporal head; the longest of the faces'."""
    total: float = 0.0
    """From the file having arrived to the answer."""


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


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One of the T frames of a clip."""

    index: int
    """Its number in the clip, from 0."""
    time_s: float
    """When it is shown, after the first frame."""
    score: float | None = None
    """As of a photo; None where the clip was not scored."""
    box: Box | None = None
    """Of the face, in pixels of the upright frame; None where there is none."""
    reasons: tuple[str, ...] = ()
    """Why this frame, and its neighbours, are of no use; empty where it is."""


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The answer for one clip."""

    verdict: Verdict
    reasons: tuple[str, ...]
    score: float | None
    """Of the clip as a whole, by the temporal head. None where the verdict is undetermined."""
    frame_score: float | None
    """Mean of the frames' scores; None where the verdict is undetermined."""
    threshold: float
    """A score at or above it is live."""
    operating_point: str
    face: FaceResult | None
    """In the middle of the frames that are of use; its score and verdict are the clip's. None where there is none."""
    frames: tuple[FrameResult, ...]
    """T, or none where the clip is too short."""
    frames_used: int
    """How many of them are of use."""
    duration_s: float
    fps: float
    width: int
    """Of the upright frames, pixels; 0 where none could be decoded."""
    height: int
    timings_ms: Timings = field(default_factory=Timings)
