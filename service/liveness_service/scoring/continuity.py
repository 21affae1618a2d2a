"""Whether all frames of a clip show one face: a cut or a swapped face must not borrow a live person's frames.

Frames that follow each other are compared by two signs, neither of which needs a network: where the face is, and what
it looks like. The signs refuse clips, they identify nobody. benchmarks/face_changed.py says how many swaps they see and
how many honest clips they refuse.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import align, face_size
from liveness_core.types import Box, DetectedFace, Picture

_SIDE = 24  # of the small picture that is compared: features of a face, and no skin texture or screen pattern
_MARGIN = 1.1
_SHIFT = 2  # pixels of it by which two may be out of register
_DETAIL = 6.0  # sigma of what is taken away as lighting

# A face may move between two frames, which are a second or more apart, but not so far or so near at once.
_MAX_MOVE = 2.0  # sizes of the face
_MAX_GROWTH = 2.0
# Measured on consecutive frames of real clips against faces of two people (benchmarks/face_changed.py).
_LEAST_LIKENESS = 0.6
_MOST_TINT = 7.0
_DOUBTFUL_LIKENESS, _DOUBTFUL_TINT = 0.75, 2.0


@dataclass(frozen=True, slots=True)
class Appearance:
    """What two frames are compared by."""

    box: Box
    detail: NDArray[np.float32]
    """Shape (24, 24): luma without its lighting, mean 0, variance 1."""
    tint: NDArray[np.float32]
    """Shape (2,): mean chroma, red and blue, on a scale of 255."""


def appearance(picture: Picture, face: DetectedFace) -> Appearance:
    """Describe one face of a picture for the comparison."""
    crop = align(picture, face, margin=_MARGIN, size=_SIDE).pixels
    colours = cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma = colours[..., 0]
    detail = luma - np.asarray(cv2.GaussianBlur(luma, (0, 0), _DETAIL), np.float32)
    detail = (detail - detail.mean()) / (detail.std() + 1e-3)
    return Appearance(face.box, detail, colours[..., 1:].mean((0, 1)))


def is_same_face(before: Appearance, after: Appearance) -> bool:
    """Whether two frames that follow each other seem to show one face."""
    size = (face_size(before.box) + face_size(after.box)) / 2
    (x, y), (other_x, other_y) = before.box.centre, after.box.centre
    if math.hypot(x - other_x, y - other_y) > _MAX_MOVE * size:
        return False
    growth = face_size(after.box) / face_size(before.box)
    if not 1 / _MAX_GROWTH <= growth <= _MAX_GROWTH:
        return False
    alike = likeness(before.detail, after.detail)
    tint = float(np.abs(before.tint - after.tint).max())
    if alike < _LEAST_LIKENESS or tint > _MOST_TINT:
        return False
    return not (alike < _DOUBTFUL_LIKENESS and tint > _DOUBTFUL_TINT)


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The best correlation of two details over small shifts, -1 to 1."""
    inside = one[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    found = cv2.matchTemplate(other, np.ascontiguousarray(inside), cv2.TM_CCOEFF_NORMED)
    return float(found.max())
