"""Notices a face that stands on its head or lies on its side.

A detector that only knows upright faces now and then draws a small upright one into a face that is turned by 90, 180
or 270 degrees. Its landmarks then say that all is well: they show where the detector put eyes and mouth, not where they
are. But the detector is surer of the same face when the picture is turned so that the face is upright.
"""

import numpy as np

from liveness_core.alignment import face_size
from liveness_core.detection.base import FaceDetector
from liveness_core.detection.scaling import shrink_to
from liveness_core.types import DetectedFace, Picture

_SURE = 0.9995
"""Confidence at which a face is upright for sure, so that nothing has to be searched. MTCNN gave turned faces at most
0.999. Of upright ones it gave 70 to 96 % more than this in four data sets, 42 % in one of small grey faces."""
_SHARE_OF_DOUBT = {"mtcnn": 0.2, "yunet_onet": 0.2}
"""A face is rotated if less than this share of the doubt (1 - confidence) is left when the picture is turned. For MTCNN
any value from 0.1 to 0.5 tells 84 turned faces that were live from 541 upright ones, of five data sets; frames of faces
that fill a clip came down to 0.27. `yunet_onet` has the confidence of the same network: with 0.2, none of 297 upright
live faces of five data sets was said to be rotated, and 2 of 891 turned ones passed. For other detectors it is 1:
YuNet's confidence has another scale."""
_WINDOW_FACES = 3.0  # side of the window that is searched, in sizes of the face; a turned face is larger than it seems
_FACE_PX = 40  # the window is reduced until the face has this size
_LEAST_SHARE = 0.2  # smallest face to look for, as a share of the window; this one has a third


def is_rotated(detector: FaceDetector, picture: Picture, face: DetectedFace) -> bool:
    """Whether the detector is much surer of a face here when the picture is turned by 90, 180 or 270 degrees.

    Args:
        detector: the one that found the face.
        picture: the whole picture, shape (H, W, 3).
        face: the face as it was found.
    """
    if face.confidence >= _SURE:
        return False
    share = _SHARE_OF_DOUBT.get(detector.name, 1.0)
    window = _window(picture, face)
    turned = max(_confidence(detector, np.ascontiguousarray(np.rot90(window, turns))) for turns in (1, 2, 3))
    if 1 - turned >= share * (1 - face.confidence):
        return False
    # Before it is said, the two are compared at the same size.
    return 1 - turned < share * (1 - _confidence(detector, window))


def _confidence(detector: FaceDetector, window: Picture) -> float:
    """The highest confidence of a face in a window; 0 where there is none."""
    return max((face.confidence for face in detector.detect(window, least_share=_LEAST_SHARE)), default=0.0)


def _window(picture: Picture, face: DetectedFace) -> Picture:
    """The surroundings of a face, reduced."""
    height, width = picture.shape[:2]
    size = face_size(face.box)
    half = _WINDOW_FACES * size / 2
    x, y = face.box.centre
    window = picture[
        max(round(y - half), 0) : min(round(y + half), height), max(round(x - half), 0) : min(round(x + half), width)
    ]
    reduced, _ = shrink_to(window, max(round(max(window.shape[:2]) * min(_FACE_PX / size, 1.0)), 1))
    return reduced
