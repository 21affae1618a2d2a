"""Tells a still picture that was made into a clip from a recording of somebody who holds still.

In a still nothing moves against anything else: it may be panned, turned or zoomed, get noise and be compressed, but one
affine map takes all its points from one frame to the next. A living head moves against what is behind it, blinks and
breathes, however still it is held. Points of the face are followed between two glances (Lucas and Kanade, there and
back), one affine map is fitted to all points, and what remains of the face's motion is the distance of the two.

A clip is a still if its glances are no more than two different pictures by that measure, so that two frames in turn are
one as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.clips.glances import Glance
from liveness_core.types import Box

_GLANCES = 10
_MOST_PICTURES = 2
_SAME_PX, _SAME_MOST_PX = 0.2, 0.35
"""Of the face's points in a still, three quarters move by less than this beside the map, in pixels of a glance; by more
where what is around the face does too, as it does after strong compression, but never by more than the second."""
_AROUND = 1.2
_POINTS, _LEAST_POINTS = 50, 6
_FAR_PX = 4.0  # beyond, a map that was fitted says nothing


def is_still(glances: Sequence[Glance], boxes: Sequence[Box | None]) -> bool:
    """Whether the glances show one or two still pictures.

    Args:
        glances: in the order of time.
        boxes: where the face is thought to be in each, in pixels of the whole frame; None where that is not known.
    """
    known = [(glance, box) for glance, box in zip(glances, boxes, strict=True) if box is not None]
    if len(known) < 2:
        return False
    # Uneven steps: with even ones a loop of frames could show another of them each time.
    steps = np.linspace(0, len(known) - 1, _GLANCES) + np.resize([0, 1, -1, 0.6], _GLANCES)
    chosen = sorted({int(np.clip(round(step), 0, len(known) - 1)) for step in steps})
    pictures: list[tuple[Glance, NDArray[np.float32], int]] = []
    for index in chosen:
        glance, box = known[index]
        if any(_is_same(*picture, glance) for picture in pictures):
            continue
        if len(pictures) == _MOST_PICTURES:
            return False
        pictures.append((glance, *_points(glance, box)))
    return True


def _points(glance: Glance, box: Box) -> tuple[NDArray[np.float32], int]:
    """Points that can be followed, shape (P, 1, 2), those of the face first, and how many of the face there are."""
    factor = glance.luma.shape[1] / glance.size[0]
    inside = np.zeros_like(glance.luma)
    x1, y1, x2, y2 = (max(round(side * factor), 0) for side in (box.x1, box.y1, box.x2, box.y2))
    inside[y1:y2, x1:x2] = 255
    face = cv2.goodFeaturesToTrack(glance.luma, _POINTS, 0.02, 3, mask=inside, blockSize=5)
    rest = cv2.goodFeaturesToTrack(glance.luma, _POINTS, 0.02, 6, mask=255 - inside, blockSize=5)
    found = [points for points in (face, rest) if points is not None]
    points = np.concatenate(found) if found else np.zeros((0, 1, 2), np.float32)
    return points.astype(np.float32), 0 if face is None else len(face)


def _is_same(one: Glance, points: NDArray[np.float32], of_face: int, other: Glance) -> bool:
    """Whether one affine map takes a glance's points, those of the face as well, to where they are in another one."""
    if of_face < _LEAST_POINTS or one.luma.shape != other.luma.shape:
        return False
    fit = _fit(one.luma, other.luma, points, of_face)
    if fit is None or fit.face_px > _FAR_PX:
        return False
    if fit.is_same:
        return True
    # Once more after the map: points of a picture that was zoomed or turned are followed badly without it.
    height, width = one.luma.shape
    mapped = cv2.warpAffine(one.luma, fit.matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved = (points[:, 0] @ fit.matrix[:, :2].T + fit.matrix[:, 2]).astype(np.float32)[:, None]
    again = _fit(np.asarray(mapped, np.uint8), other.luma, moved, of_face)
    return again is not None and again.is_same


@dataclass(frozen=True, slots=True)
class _Fit:
    """An affine map, and how far points move beside it: three quarters of them by less."""

    matrix: NDArray[np.float64]
    face_px: float
    around_px: float

    @property
    def is_same(self) -> bool:
        return self.face_px < min(max(_SAME_PX, _AROUND * self.around_px), _SAME_MOST_PX)


def _fit(one: NDArray[np.uint8], other: NDArray[np.uint8], points: NDArray[np.float32], of_face: int) -> _Fit | None:
    """Follow the points there and back, and fit a map; None where most of the face's points get lost."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, points, np.empty_like(points), winSize=(15, 15))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, one, there, np.empty_like(points), winSize=(15, 15))
    followed = (found.ravel() == 1) & (found_back.ravel() == 1) & (np.abs(back - points).max((1, 2)) < 0.5)
    if followed[:of_face].sum() < max(_LEAST_POINTS, of_face / 2):
        return None
    start, end = points[followed, 0], there[followed, 0]
    known = np.c_[start, np.ones(len(start))]
    weights = np.ones(len(start))
    for _ in range(5):
        # Least absolute distances, by weighted least squares: what moves by itself does not pull the map.
        matrix = np.linalg.lstsq(known * weights[:, None], end * weights[:, None], rcond=None)[0]
        left = np.hypot(*(known @ matrix - end).T)
        weights = np.sqrt(1 / np.maximum(left, 0.1))
    face = int(followed[:of_face].sum())
    around = float(np.percentile(left[face:], 75)) if len(left) >= face + _LEAST_POINTS else 0.0
    return _Fit(matrix.T, float(np.percentile(left[:face], 75)), around)
