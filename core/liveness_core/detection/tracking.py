"""Detection from frame to frame of a video.

The face is looked for first where it was in a neighbouring frame. That costs a fraction of a search of the whole frame.
"""

import math

from liveness_core.alignment import face_size
from liveness_core.detection.base import FaceDetector
from liveness_core.detection.scaling import enlarge_face, shift_face, shrink_to
from liveness_core.types import Box, DetectedFace, Picture

_WINDOW_FACES = 3.0  # side of the window that is searched, in multiples of the known face's size
_LEAST_SHARE = 0.2  # smallest face to look for, as a share of the window; the known face had a third
_FACE_PX = 80  # the window is reduced until the face has this size: above it, detectors give the same result


class FaceTracker:
    """Finds the face in the frames of one video. The frames may come in any order."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._faces: dict[int, DetectedFace] = {}

    def find(self, picture: Picture, position: int, *, whole: bool = False) -> tuple[DetectedFace, ...]:
        """Find the faces of a frame, looking first where the face was in the frame nearest in time.

        Args:
            picture: the frame, shape (H, W, 3); all frames of a video have the same size.
            position: number of the frame in the video.
            whole: search the whole frame in any case, to learn of other faces.

        Returns:
            The one face that was found where it had been; after a search of the whole frame all faces, largest first.
        """
        nearest = min(self._faces, key=lambda known: abs(known - position), default=None)
        if nearest is not None and not whole:
            face = _find_near(self._detector, picture, self._faces[nearest])
            if face is not None:
                self._faces[position] = face
                return (face,)
        faces = self._detector.detect(picture)
        if faces:
            # Measured again in a window, as in later frames: else the face would seem to jump from the first frame to
            # the second.
            faces[0] = _find_near(self._detector, picture, faces[0]) or faces[0]
            self._faces[position] = faces[0]
        return tuple(faces)


def _find_near(detector: FaceDetector, picture: Picture, known: DetectedFace) -> DetectedFace | None:
    """Search a window around a known face. Of several faces found there, the one nearest to the known one counts."""
    height, width = picture.shape[:2]
    size = face_size(known.box)
    half = _WINDOW_FACES * size / 2
    x, y = known.box.centre
    x1, y1 = max(round(x - half), 0), max(round(y - half), 0)
    x2, y2 = min(round(x + half), width), min(round(y + half), height)
    if x2 - x1 < size or y2 - y1 < size:  # at the edge of the picture only a strip is left, which shows no face
        return None
    window = picture[y1:y2, x1:x2]
    reduced, factor = shrink_to(window, round(max(window.shape[:2]) * min(_FACE_PX / size, 1.0)))
    found = [
        shift_face(enlarge_face(face, factor), x1, y1) for face in detector.detect(reduced, least_share=_LEAST_SHARE)
    ]
    return min(found, key=lambda face: _distance(face.box, known.box), default=None)


def _distance(first: Box, second: Box) -> float:
    """Distance between the centres of two boxes, in pixels."""
    (x1, y1), (x2, y2) = first.centre, second.centre
    return math.hypot(x1 - x2, y1 - y2)
