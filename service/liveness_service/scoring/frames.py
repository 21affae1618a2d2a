"""The look at a clip's frames: a crop to be scored, or the reason why there is none."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from liveness_core.alignment import align
from liveness_core.detection.scaling import enlarge_face
from liveness_core.detection.tracking import FaceTracker
from liveness_core.quality import measure, refusals
from liveness_core.types import DetectedFace, Picture, Quality
from liveness_core.video import VideoFrame
from liveness_service.observability.stages import stage
from liveness_service.results import MULTIPLE_FACES, NO_FACE
from liveness_service.scoring.continuity import Appearance, appearance
from liveness_service.scoring.model import Model
from liveness_service.submission import FacePolicy


@dataclass(frozen=True, slots=True)
class UsableFrame:
    """A frame that can be scored."""

    face: DetectedFace
    """The face in pixels of the upright frame."""
    quality: Quality
    crop: Picture
    appearance: Appearance
    time_s: float
    """Seconds from the first frame to this one."""


@dataclass(frozen=True, slots=True)
class RefusedFrame:
    """A frame that cannot be scored."""

    face: DetectedFace | None
    reasons: tuple[str, ...]


class FrameLook:
    """Looks at the frames of one clip and follows its face from one to the next."""

    def __init__(self, model: Model, policy: FacePolicy, searched_whole: Iterable[int]) -> None:
        """Begin a clip.

        Args:
            model: its detector finds the faces, its gates refuse them.
            policy: which faces count.
            searched_whole: positions of the frames in which a second face is looked for where there must be none;
                in the others the face is first looked for where it was.
        """
        self._model = model
        self._tracker = FaceTracker(model.detector)
        self._policy = policy
        self._searched_whole = set(searched_whole) if policy is FacePolicy.SINGLE else set()
        self.refused: dict[int, RefusedFrame] = {}
        """The frames that cannot be scored, by position."""
        self.size = (0, 0)
        """Width and height of the upright frames, pixels; zeros until one was seen."""
        self.count = 0
        """How many frames were looked at."""

    def __call__(self, frame: VideoFrame) -> UsableFrame | None:
        """Look at a frame; None where it cannot be scored, and `refused` then says why."""
        self.size = (frame.width, frame.height)
        self.count += 1
        with stage("detect", frame=frame.position):
            whole = frame.position in self._searched_whole
            faces = self._tracker.find(frame.pixels, frame.position, whole=whole).faces
        with stage("align", frame=frame.position):
            seen = self._judge(frame, faces)
        if isinstance(seen, RefusedFrame):
            self.refused[frame.position] = seen
            return None
        return seen

    def _judge(self, frame: VideoFrame, faces: tuple[DetectedFace, ...]) -> UsableFrame | RefusedFrame:
        if not faces:
            return RefusedFrame(None, (NO_FACE,))
        face = faces[0]
        shown = enlarge_face(face, frame.scale)
        if len(faces) > 1 and self._policy is FacePolicy.SINGLE:
            return RefusedFrame(shown, (MULTIPLE_FACES,))
        manifest = self._model.bundle.manifest
        quality = measure(frame.pixels, face)
        quality = replace(quality, face_px=quality.face_px * frame.scale)
        reasons = refusals(quality, manifest.quality_gates)
        if reasons:
            return RefusedFrame(shown, reasons)
        spec = manifest.preprocess
        crop = align(frame.pixels, face, margin=spec.margin, size=spec.size).pixels
        return UsableFrame(shown, quality, crop, appearance(frame.pixels, face), frame.time_s)
