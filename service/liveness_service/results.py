"""What the service concludes. A score is the probability of live, in [0, 1]; higher is always more live."""

from dataclasses import dataclass, field
from enum import StrEnum

from liveness_core.types import Box, DetectedFace, Quality


class Verdict(StrEnum):
    """`undetermined` is an answer and never a pass."""

    LIVE = "live"
    SPOOF = "spoof"
    UNDETERMINED = "undetermined"


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


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, milliseconds; 0 for what was not needed."""

    decode: float = 0.0
    detect: float = 0.0
    align: float = 0.0
    """Crop and quality measures."""
    queue: float = 0.0
    """From a crop being ready to the start of its batch; for a photo of several faces the longest wait."""
    infer: float = 0.0
    """Encoder and classifier, and a clip's temporal head; for a photo of several faces the longest run."""
    total: float = 0.0
    """From the file having arrived to the answer."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The answer for one picture."""

    verdict: Verdict
    reasons: tuple[str, ...]
    score: float | None
    """The score of the face that decides: the only one, or the least live. None where the verdict is undetermined."""
    threshold: float
    """A score at or above it is live."""
    operating_point: str
    faces: tuple[FaceResult, ...]
    width: int
    """Width of the upright picture, pixels."""
    height: int
    timings_ms: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One of the T frames of a clip."""

    index: int
    """The frame's number in the clip, from 0."""
    time_s: float
    """Seconds from the first frame to this one."""
    score: float | None = None
    """The frame's score as a photo; None where the clip was not scored."""
    box: Box | None = None
    """The face's box in pixels of the upright frame; None where no face was found."""
    reasons: tuple[str, ...] = ()
    """Why neither this frame nor its neighbours can be scored; empty where the frame can."""


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The answer for one clip."""

    verdict: Verdict
    reasons: tuple[str, ...]
    score: float | None
    """The temporal head's score of the whole clip. None where the verdict is undetermined."""
    frame_score: float | None
    """Mean of the frames' scores; None where the verdict is undetermined."""
    threshold: float
    """A score at or above it is live."""
    operating_point: str
    face: FaceResult | None
    """The face in the middle one of the usable frames, with the clip's score and verdict. None without such a frame."""
    frames: tuple[FrameResult, ...]
    """The T frames that stand for the clip; empty where the clip is too short."""
    frames_used: int
    """How many of them can be scored."""
    duration_s: float
    fps: float
    width: int
    """Width of the upright frames, pixels; 0 where none could be decoded."""
    height: int
    timings_ms: Timings = field(default_factory=Timings)


Result = ImageResult | ClipResult
