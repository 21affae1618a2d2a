"""Faces are searched for in a reduced picture, so that the cost does not grow with megapixels.

A face that is large enough to be scored is still large enough to be found there.
"""

import cv2
import numpy as np

from liveness_core.types import Box, DetectedFace, Picture


def shrink_to(picture: Picture, max_side_px: int) -> tuple[Picture, float]:
    """Reduce a picture until its longer side is at most `max_side_px`; also returns the factor back to full size."""
    height, width = picture.shape[:2]
    factor = max(height, width) / max_side_px
    if factor <= 1:
        return picture, 1.0
    size = (max(round(width / factor), 1), max(round(height / factor), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), factor


def thin_out(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize a picture for a search, in a time that hardly grows with its pixels.

    A large one is thinned out to two or three times `size` before areas are averaged. Fine patterns may alias; that
    hides no face, but a crop that is to be scored must be cut with `alignment.cut`.

    Args:
        picture: shape (H, W, 3).
        size: width and height of the result.
    """
    height, width = picture.shape[:2]
    step = max(min(width // size[0], height // size[1]) // 2, 1)
    thinned = picture
    if step > 1:
        # Every step-th pixel; NumPy would take ten times as long for `picture[::step, ::step]`.
        width, height = width // step, height // step
        whole = picture[: height * step, : width * step]
        thinned = cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    if min(width / size[0], height / size[1]) >= 2:
        # Exactly half: OpenCV averages two by two pixels many times faster than any other area.
        half = (width // 2, height // 2)
        thinned = cv2.resize(thinned, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return cv2.resize(thinned, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def enlarge_face(face: DetectedFace, factor: float) -> DetectedFace:
    """Convert a face that was found in a reduced picture to pixels of the full one."""
    if factor == 1.0:
        return face
    left, right, nose, mouth_left, mouth_right = ((x * factor, y * factor) for x, y in face.landmarks)
    box = Box(face.box.x1 * factor, face.box.y1 * factor, face.box.x2 * factor, face.box.y2 * factor)
    return DetectedFace(box, (left, right, nose, mouth_left, mouth_right), face.confidence)


def narrow_face(face: DetectedFace, factor: float) -> DetectedFace:
    """Convert a face that was found in a picture widened by `factor` to pixels of the original picture."""
    left, right, nose, mouth_left, mouth_right = ((x / factor, y) for x, y in face.landmarks)
    box = Box(face.box.x1 / factor, face.box.y1, face.box.x2 / factor, face.box.y2)
    return DetectedFace(box, (left, right, nose, mouth_left, mouth_right), face.confidence)


def shift_face(face: DetectedFace, x: float, y: float) -> DetectedFace:
    """Convert a face that was found in a part of a picture to pixels of the whole.

    (x, y) is the top-left corner of the part in the whole picture.
    """
    left, right, nose, mouth_left, mouth_right = ((px + x, py + y) for px, py in face.landmarks)
    box = Box(face.box.x1 + x, face.box.y1 + y, face.box.x2 + x, face.box.y2 + y)
    return DetectedFace(box, (left, right, nose, mouth_left, mouth_right), face.confidence)
