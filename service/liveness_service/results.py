"""The service's results. A score is the probability that the face is live, in [0, 1]; a higher score is more live."""

from dataclasses import dataclass, field
from enum import StrEnum

from liveness_core.reasons import Reason
from liveness_core.types import Box, DetectedFace, Quality


class Verdict(StrEnum):
    """`undetermined` is an answer and never a pass."""

    LIVE = "live"
    SPOOF = "spoof"
    UNDETERMINED = "undetermined"


NO_FACE = Reason.NO_FACE
MULTIPLE_FACES = Reason.MULTIPLE_FACES
TOO_MANY_FACES = Reason.TOO_MANY_FACES
TOO_FEW_FRAMES = Reason.TOO_FEW_FRAMES
CLIP_TOO_SHORT = Reason.CLIP_TOO_SHORT
FACE_CHANGED = Reason.FACE_CHANGED
STATIC_CLIP = Reason.STATIC_CLIP
FACE_ROTATED = Reason.FACE_ROTATED
FRAME_UNREADABLE = Reason.FRAME_UNREADABLE
SEEN_BEFORE = Reason.SEEN_BEFORE


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The result for one face."""

    face: DetectedFace
    quality: Quality
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why the verdict is `undetermined`; empty otherwise."""
    score: float | None = None
    """Probability of live, in [0, 1]; None where the face was not scored."""
    heatmap_png: bytes | None = None
    """PNG of the scored crop with its class activation map; None unless the request asked for it."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each stage took, in milliseconds; 0 for a stage that did not run."""

    decode: float = 0.0
    """Decoding the photo, or the clip's frames."""
    detect: float = 0.0
    """Finding the faces."""
    align: float = 0.0
    """Measuring the quality of the faces and cutting their crops."""
    queue: float = 0.0
    """Waiting of a finished crop for its batch to start; of several faces in a photo the longest wait."""
    infer: float = 0.0
    """Running encoder and classifier, and a clip's temporal head; of several faces in a photo the longest run."""
    total: float = 0.0
    """From the arrival of the whole file to the answer."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The answer for one picture."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is `undetermined`; empty otherwise."""
    score: float | None
    """Score of the face that decides: of several faces the least live. None where the verdict is undetermined."""
    threshold: float
    """A face is live where its score is at or above this value, in [0, 1]."""
    operating_point: str
    faces: tuple[FaceResult, ...]
    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    timings_ms: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """A frame of a clip that was used, or that speaks against the clip."""

    index: int
    """The frame's number in the clip, counted from 0."""
    time_s: float
    """Seconds from the first frame to this one."""
    score: float | None = None
    """The frame's score as a single photo, in [0, 1]; None where the clip was not scored."""
    box: Box | None = None
    """The face's box in pixels of the upright frame; None where no face was found."""
    reasons: tuple[str, ...] = ()
    """Why this frame cannot be scored, or what it shows against the clip; empty where this frame can be scored."""


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The answer for one clip."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is `undetermined`; empty otherwise."""
    score: float | None
    """The temporal head's score of the whole clip, in [0, 1]; None where the verdict is undetermined."""
    frame_score: float | None
    """Mean of the frames' scores, in [0, 1]; None where the verdict is undetermined."""
    threshold: float
    """The clip is live where its score is at or above this value, in [0, 1]."""
    operating_point: str
    """Name of the threshold."""
    face: FaceResult | None
    """The face in the middle one of the usable frames, with the clip's score and verdict; None where none is usable."""
    frames: tuple[FrameResult, ...]
    """The frames that were used; where the clip is not scored, the frames that spoke against it as well, one entry for
    each face where there are several. Empty where the clip is too short."""
    frames_used: int
    """How many of the T frames that are needed can be scored."""
    duration_s: float
    """Length of the clip in seconds, by the times of its frames; 0 where they have none."""
    fps: float
    """Mean number of frames a second; 0 where the frames have no times."""
    width: int
    """Width of the upright frames in pixels; 0 where none could be decoded."""
    height: int
    """Height of the upright frames in pixels; 0 where none could be decoded."""
    timings_ms: Timings = field(default_factory=Timings)


Result = ImageResult | ClipResult
