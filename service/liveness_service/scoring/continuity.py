"""Checks that all frames of a clip show the same face, so that no attack is mixed with frames of a live person.

Consecutive frames are compared in two ways that need no network: where the face is, and what it looks like. This is
enough to refuse clips, but it identifies nobody. benchmarks/face_changed.py measures how many swapped faces are noticed
and how many honest clips are refused.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import align, face_size
from liveness_core.types import Box, DetectedFace, Picture

_SIDE = 24  # side of the small picture that is compared: shows the features of a face, but no skin or screen texture
_MARGIN = 1.1
_SHIFT = 2  # how many pixels of the small picture two faces may be shifted against each other
_DETAIL = 6.0  # sigma of the blur whose result counts as lighting and is subtracted

# Between two frames, which are a second or more apart, a face may move or come closer, but only so much.
_MAX_MOVE = 2.0  # in sizes of the face
_MAX_GROWTH = 2.0  # ratio of the sizes
# Measured on consecutive frames of real clips against faces of two people (benchmarks/face_changed.py).
_LEAST_LIKENESS = 0.6
_MOST_TINT = 7.0
_DOUBTFUL_LIKENESS, _DOUBTFUL_TINT = 0.75, 2.0


@dataclass(frozen=True, slots=True)
class Appearance:
    """Where a face is in a frame and what it looks like, for the comparison with another frame."""

    box: Box
    """The face's box in pixels of the frame."""
    detail: NDArray[np.float32]
    """Shape (24, 24): luma with the lighting removed, mean 0, variance 1."""
    tint: NDArray[np.float32]
    """Shape (2,): mean chroma, red and blue, 0 to 255."""


def appearance(picture: Picture, face: DetectedFace) -> Appearance:
    """Describe a face in a picture, for the comparison with another frame."""
    crop = align(picture, face, margin=_MARGIN, size=_SIDE).pixels
    colours = cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma = colours[..., 0]
    detail = luma - np.asarray(cv2.GaussianBlur(luma, (0, 0), _DETAIL), np.float32)
    detail = (detail - detail.mean()) / (detail.std() + 1e-3)
    return Appearance(face.box, detail, colours[..., 1:].mean((0, 1)))


def is_same_face(before: Appearance, after: Appearance) -> bool:
    """Whether two consecutive frames seem to show the same face."""
    size = (face_size(before.box) + face_size(after.box)) / 2
    (x, y), (other_x, other_y) = before.box.centre, after.box.centre
    if math.hypot(x - other_x, y - other_y) > _MAX_MOVE * size:
        return False
    growth = face_size(after.box) / face_size(before.box)
    if not 1 / _MAX_GROWTH <= growth <= _MAX_GROWTH:
        return False
    return is_same_looks(before, after)


def is_same_looks(before: Appearance, after: Appearance) -> bool:
    """Whether two frames seem to show the same face, wherever it is in them."""
    alike = likeness(before.detail, after.detail)
    tint = float(np.abs(before.tint - after.tint).max())
    if alike < _LEAST_LIKENESS or tint > _MOST_TINT:
        return False
    return not (alike < _DOUBTFUL_LIKENESS and tint > _DOUBTFUL_TINT)


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The best correlation of two `detail` arrays over small shifts, in [-1, 1]."""
    inside = one[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    found = cv2.matchTemplate(other, np.ascontiguousarray(inside), cv2.TM_CCOEFF_NORMED)
    return float(found.max())
