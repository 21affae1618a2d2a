"""Tells a still picture that was made into a clip from a recording of somebody who holds still.

In a still nothing moves against anything else: it may be panned, turned or zoomed, get noise and be compressed, but one
affine map takes all its points from one frame to the next. A living head moves against what is behind it, blinks and
breathes, however still it is held. Points of the face are followed between two glances (Lucas and Kanade, there and
back), one affine map is fitted to all points, and what remains of the face's motion is the distance of the two.

A clip is a still if its glances are no more than two different pictures by that measure, so that two frames in turn are
one as well. Strong compression moves the blocks of a still as far as a living face moves, but it does so everywhere,
and differently each time. So a clip is a still as well if its face moves no more than what is around it, and if little
of that is left in the averages of the clip's four parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

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
# Of panned and zoomed stills that x264 coded at CRF 38, against recordings in which the head hardly moves: the face
# moves beside the map 0.25 to 1.21 times as far as what is around it (40 of 41), against 1.33 times and more; averages
# differ by at most 0.57 (39 of 41), against 0.71 and more where the surroundings move as well.
_MOST_OF_AROUND = 1.27
_PARTS, _MOST_AVERAGED = 4, 24
_MEANS_MEDIAN_PX, _MEANS_MOST_PX = 0.42, 0.62
_MOVES_PX = 0.65
"""Where the face moves by more in half of the glances it is no noise: those stills have 0.58 at most."""


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
            return _is_still_on_average(known)
        pictures.append((glance, *_points(glance, box)))
    return True


def _is_still_on_average(known: Sequence[tuple[Glance, Box]]) -> bool:
    """Whether what moves is noise: as much around the face as in it, and gone in the averages of the clip's parts."""
    if len(known) < 2 * _PARTS:
        return False
    steps = np.linspace(0, len(known) - 1, min(len(known), _MOST_AVERAGED)).round().astype(int)
    glances = [known[step][0] for step in steps]
    middle, box = known[steps[len(steps) // 2]]
    points, of_face = _points(middle, box)
    last = len(glances) - 1
    fits = {place: _laid_over(middle, points, of_face, glances[place]) for place in (0, last // 4, 3 * last // 4, last)}
    if _median_px(fits.values(), "face_px") > _MOVES_PX:
        return False
    for place, glance in enumerate(glances):
        if place not in fits and glance is not middle:
            fits[place] = _laid_over(middle, points, of_face, glance)
    moved = _median_px(fits.values(), "face_px")
    if moved > min(_MOVES_PX, _MOST_OF_AROUND * _median_px(fits.values(), "around_px")):
        return False
    matrices = {place: fit.matrix for place, fit in fits.items() if fit is not None} | {len(steps) // 2: np.eye(2, 3)}
    parts = [[place for place in part if place in matrices] for part in np.array_split(range(len(glances)), _PARTS)]
    if not all(parts):
        return False
    means = [_mean([(glances[place].luma, matrices[place]) for place in part]) for part in parts]
    found = [_fit(one, other, points, of_face) for one, other in combinations(means, 2)]
    largest = max(_FAR_PX if fit is None else fit.face_px for fit in found)
    return largest < _MEANS_MOST_PX and _median_px(found, "face_px") < _MEANS_MEDIAN_PX


def _median_px(fits: Iterable["_Fit | None"], name: Literal["face_px", "around_px"]) -> float:
    """Median of a distance, where there is no map the largest."""
    return float(np.median([_FAR_PX if fit is None else getattr(fit, name) for fit in fits]))


def _mean(laid: Sequence[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> NDArray[np.uint8]:
    """Mean of pictures, each with the map that leads to its points from those of the picture that it is laid over."""
    total = np.zeros(laid[0][0].shape, np.float32)
    for luma, matrix in laid:
        total += cv2.warpAffine(
            luma.astype(np.float32),
            matrix,
            luma.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return np.clip(total / len(laid), 0, 255).astype(np.uint8)


def _laid_over(one: Glance, points: NDArray[np.float32], of_face: int, other: Glance) -> "_Fit | None":
    """The map from a glance to another one, and how far points move beside it; None where there is none."""
    if of_face < _LEAST_POINTS or one.luma.shape != other.luma.shape:
        return None
    fit = _fit(one.luma, other.luma, points, of_face)
    if fit is None or fit.face_px > _FAR_PX:
        return None
    again = _again(one, points, of_face, other, fit)
    if again is None or again.face_px >= fit.face_px:
        return fit
    first = np.vstack([fit.matrix, [0.0, 0.0, 1.0]])
    return _Fit(np.asarray(again.matrix @ first), again.face_px, again.around_px)


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
    again = _again(one, points, of_face, other, fit)
    return again is not None and again.is_same


def _again(one: Glance, points: NDArray[np.float32], of_face: int, other: Glance, fit: "_Fit") -> "_Fit | None":
    """Once more after a map: points of a picture that was zoomed or turned are followed badly without it."""
    height, width = one.luma.shape
    mapped = cv2.warpAffine(one.luma, fit.matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved = (points[:, 0] @ fit.matrix[:, :2].T + fit.matrix[:, 2]).astype(np.float32)[:, None]
    return _fit(np.asarray(mapped, np.uint8), other.luma, moved, of_face)


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
