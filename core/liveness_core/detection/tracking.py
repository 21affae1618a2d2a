"""Detection from frame to frame: where a face was, it is looked for first, at a fraction of a whole search's cost."""

import math
from dataclasses import dataclass

from liveness_core.alignment import face_size
from liveness_core.detection.base import FaceDetector
from liveness_core.detection.scaling import enlarge_face, shift_face, shrink_to
from liveness_core.types import Box, DetectedFace, Picture

_REACH = 3.0  # side of the window that is searched, in sizes of the face that was in its middle
_LEAST_SHARE = 0.2  # of the window: it held a face of a third
_FACE_PX = 80  # size that the face is brought to in it: what detectors make of it changes no more above that


@dataclass(frozen=True, slots=True)
class Tracked:
    """The faces found in one frame."""

    faces: tuple[DetectedFace, ...]
    """Largest first; the followed one alone where one was followed."""
    followed: bool
    """Whether it was found where it had been, and the rest of the frame not looked at."""


class FaceTracker:
    """Finds the face of a video's frames, which may be asked for in any order."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._faces: dict[int, DetectedFace] = {}

    def find(self, picture: Picture, position: int, *, whole: bool = False) -> Tracked:
        """Find the faces of a frame: first where one was in the frame that is nearest in time.

        Args:
            picture: the frame, shape (H, W, 3); frames of one video are of one size.
            position: its number in the video.
            whole: search all of it in any case, to learn of other faces.
        """
        before = min(self._faces, key=lambda each: abs(each - position), default=None)
        if before is not None and not whole:
            face = _near(self._detector, picture, self._faces[before])
            if face is not None:
                self._faces[position] = face
                return Tracked((face,), followed=True)
        faces = self._detector.detect(picture)
        if faces:
            # Measured as in the frames that follow: a face must not seem to jump from the first frame to the next.
            faces[0] = _near(self._detector, picture, faces[0]) or faces[0]
            self._faces[position] = faces[0]
        return Tracked(tuple(faces), followed=False)


def _near(detector: FaceDetector, picture: Picture, before: DetectedFace) -> DetectedFace | None:
    """The face of the window that is nearest to where it was, if any."""
    height, width = picture.shape[:2]
    size = face_size(before.box)
    half = _REACH * size / 2
    x, y = before.box.centre
    x1, y1 = max(round(x - half), 0), max(round(y - half), 0)
    x2, y2 = min(round(x + half), width), min(round(y + half), height)
    if x2 - x1 < size or y2 - y1 < size:  # it was at the edge: a strip shows no face
        return None
    window = picture[y1:y2, x1:x2]
    reduced, factor = shrink_to(window, round(max(window.shape[:2]) * min(_FACE_PX / size, 1.0)))
    found = [
        shift_face(enlarge_face(face, factor), x1, y1) for face in detector.detect(reduced, least_share=_LEAST_SHARE)
    ]
    return min(found, key=lambda face: _distance(face.box, before.box), default=None)


def _distance(one: Box, other: Box) -> float:
    (x, y), (other_x, other_y) = one.centre, other.centre
    return math.hypot(x - other_x, y - other_y)
