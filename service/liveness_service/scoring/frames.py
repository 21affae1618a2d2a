"""Looks at the frames of a clip: each frame gives crops to score, or the reasons why it has none."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from liveness_core.alignment import LevelCrops
from liveness_core.detection.rotated import is_rotated
from liveness_core.detection.scaling import enlarge_face
from liveness_core.detection.tracking import FaceTracker
from liveness_core.quality import measure, refusals
from liveness_core.types import DetectedFace, FaceCrops, Quality
from liveness_core.video import VideoFrame
from liveness_core.views import cut_views
from liveness_service.observability.stages import stage
from liveness_service.results import FACE_ROTATED, MULTIPLE_FACES, NO_FACE
from liveness_service.scoring.continuity import Appearance, appearance
from liveness_service.scoring.finder import Finder
from liveness_service.submission import FacePolicy


@dataclass(frozen=True, slots=True)
class UsableFrame:
    """A frame that can be scored."""

    face: DetectedFace
    """The face, in pixels of the upright frame."""
    quality: Quality
    crops: FaceCrops
    """The crops of the face that the model scores."""
    appearance: Appearance
    """What the face looks like, for the comparison with the next frame."""
    time_s: float
    """Seconds from the first frame to this one."""
    size: tuple[int, int]
    """Width and height of the upright frame in pixels."""


@dataclass(frozen=True, slots=True)
class RefusedFrame:
    """A frame that cannot be scored."""

    face: DetectedFace | None
    """The largest face, in pixels of the upright frame; None if no face was found."""
    reasons: tuple[str, ...]
    """Why the frame cannot be scored; never empty."""
    time_s: float = 0.0
    """Seconds from the first frame to this one."""
    others: tuple[DetectedFace, ...] = ()
    """Further faces that were found, in pixels of the upright frame."""


class FrameLook:
    """Looks at the frames of one clip and follows the face from frame to frame."""

    def __init__(self, finder: Finder, policy: FacePolicy, searched_whole: Iterable[int]) -> None:
        """Begin with a new clip.

        Args:
            finder: its detector finds the faces, and its quality gates refuse unusable ones.
            policy: which faces count.
            searched_whole: positions of the frames that are searched completely for a second face, if the policy allows
                only one. In all other frames the face is first looked for where it was before.
        """
        self._finder = finder
        self._tracker = FaceTracker(finder.detector)
        self._policy = policy
        self._searched_whole = set(searched_whole) if policy is FacePolicy.SINGLE else set()
        self.refused: dict[int, RefusedFrame] = {}
        """The frames that cannot be scored, by their position in the clip."""
        self.size = (0, 0)
        """Width and height of the upright frames in pixels; zeros before the first frame."""
        self.count = 0
        """How many frames were looked at."""
        self._is_crowded = False
        self._seen: set[int] = set()

    @property
    def is_crowded(self) -> bool:
        """Whether more than one face was seen, in more than one frame: in a single one it may be no face at all."""
        return sum(MULTIPLE_FACES in frame.reasons for frame in self.refused.values()) > 1

    def is_lacking(self, position: int) -> bool:
        """Whether a frame was never seen."""
        return position not in self._seen

    def is_away(self, position: int) -> bool:
        """Whether no face was found in a frame that cannot be scored."""
        return NO_FACE in self.refused[position].reasons

    def __call__(self, frame: VideoFrame) -> UsableFrame | None:
        """Look at a frame. Returns None if it cannot be scored; `refused` then says why."""
        if self.size != (frame.width, frame.height):
            # The camera was turned, or the sender changed the picture's size: known places no longer hold.
            self._tracker = FaceTracker(self._finder.detector)
        self.size = (frame.width, frame.height)
        self.count += 1
        self._seen.add(frame.position)
        with stage("detect", frame=frame.position):
            # Where a second face was seen, the next look makes sure.
            whole = frame.position in self._searched_whole or self._is_crowded
            faces = self._tracker.find(frame.pixels, frame.position, whole=whole)
        with stage("align", frame=frame.position):
            seen = self._judge(frame, faces)
        self._is_crowded = isinstance(seen, RefusedFrame) and MULTIPLE_FACES in seen.reasons
        if isinstance(seen, RefusedFrame):
            self.refused[frame.position] = seen
            return None
        return seen

    def _judge(self, frame: VideoFrame, faces: tuple[DetectedFace, ...]) -> UsableFrame | RefusedFrame:
        if not faces:
            return RefusedFrame(None, (NO_FACE,), frame.time_s)
        face = faces[0]
        shown = enlarge_face(face, frame.scale)
        if len(faces) > 1 and self._policy is FacePolicy.SINGLE:
            others = tuple(enlarge_face(other, frame.scale) for other in faces[1:])
            return RefusedFrame(shown, (MULTIPLE_FACES,), frame.time_s, others)
        shared = LevelCrops(frame.pixels, face)
        quality = measure(frame.pixels, face, shared)
        quality = replace(quality, face_px=quality.face_px * frame.scale)
        reasons = refusals(quality, self._finder.gates)
        if reasons:
            return RefusedFrame(shown, reasons, frame.time_s)
        if is_rotated(self._finder.detector, frame.pixels, face):
            return RefusedFrame(shown, (FACE_ROTATED,), frame.time_s)
        crops = cut_views(self._finder.views, frame.pixels, face, shared)
        return UsableFrame(shown, quality, crops, appearance(frame.pixels, face), frame.time_s, self.size)
