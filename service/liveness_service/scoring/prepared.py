"""An upload that is ready to be scored: the crops, and all that is known beside them.

The facts hold no pixels and can be written as JSON, since they come from another process where workers prepare uploads.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from liveness_core.types import DetectedFace, FaceCrops, Quality
from liveness_service.results import FrameResult


@dataclass(frozen=True, slots=True)
class Candidate:
    """A face of a photo that the answer shows, scored or not."""

    face: DetectedFace
    quality: Quality
    reasons: tuple[str, ...]
    """Why the quality gates refuse the face; empty if they pass it."""
    cropped: bool
    """Whether there are crops to score; none if the face, or the whole photo, is refused."""


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What is known of a decoded photo."""

    width: int
    height: int
    refusal: str | None
    """Why no face of the photo is scored; None if the photo is not refused as a whole."""
    candidates: tuple[Candidate, ...]
    """The faces that the answer shows."""

    @property
    def crops(self) -> int:
        """How many faces have crops to score, in the order of the candidates."""
        return sum(candidate.cropped for candidate in self.candidates)


@dataclass(frozen=True, slots=True)
class ClipFace:
    """The face in one frame of a clip."""

    face: DetectedFace
    """In pixels of the upright frame."""
    quality: Quality


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What is known of a clip whose frames were chosen and looked at."""

    refusals: tuple[str, ...]
    """Why the clip is not scored; empty if it is scored."""
    usable: tuple[ClipFace, ...] = ()
    """The faces of the frames that can be scored, in the order of time."""
    frames: tuple[FrameResult, ...] = ()
    """The T frames that represent the clip, without scores; empty if the clip is too short."""
    duration_s: float = 0.0
    """Length of the clip in seconds."""
    fps: float = 0.0
    """Mean number of frames a second."""
    width: int = 0
    """Width of the upright frames in pixels; 0 if none was decoded."""
    height: int = 0
    """Height of the upright frames in pixels; 0 if none was decoded."""

    @property
    def crops(self) -> int:
        """How many faces have crops to score, in the order of time; none if the clip is refused."""
        return 0 if self.refusals else len(self.usable)


Facts = TypeVar("Facts", bound=PhotoFacts | ClipFacts)
Facts_co = TypeVar("Facts_co", bound=PhotoFacts | ClipFacts, covariant=True)


@dataclass(frozen=True, slots=True)
class Prepared(Generic[Facts_co]):
    """An upload that is ready to be scored."""

    facts: Facts_co
    crops: tuple[FaceCrops, ...]
    """The crops of each face to score, `facts.crops` faces."""
