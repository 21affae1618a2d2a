"""Tells a still picture that was made into a clip from a recording of somebody who holds still.

In a still nothing moves against anything else: it may be panned, turned or zoomed, get noise and be compressed, but one
affine map takes all its points from one frame to the next. A living head moves against what is behind it, blinks and
breathes, however still it is held. Points of the face are followed between two glances (Lucas and Kanade, there and
back), one affine map is fitted to all points, and what remains of the face's motion is the distance of the two.

A clip is a still if its glances are no more than two different pictures by that measure, so that two frames in turn are
one as well. Strong compression moves the blocks of a still as far as a living face moves, but it does so everywhere,
and differently each time. So a clip is a still as well if its face moves no more than what is around it, and if little
of that is left in the averages of the clip's four parts.

Somebody who holds still for three seconds moves no point of the face by more than compression does, but moves all of
them together. So the last word has a second measure: one map is fitted to the face's points and one to those around it,
and how far the two take the face's points apart is compared with how far single points around it stray. The maps of a
still agree the better, the more points there are; a head that sways by a tenth of a pixel against its surroundings
shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
_FIRST_APART, _LAST_APART = 1, 2
"""The glances at a clip's ends are left out: encoders give the first frames and the last ones other qualities."""
_LEAST_AROUND = 8
_MOST_CONFIRMED = 16
_APART_PX, _APART_OF_STRAY = 0.06, 1.2
_SWAY_PX, _SWAY_OF_STRAY = 0.03, 0.35
_MOVES_PX = 0.65
"""Where the face moves by more in half of the glances it is no noise: those stills have 0.58 at most."""


def is_still(glances: Sequence[Glance], boxes: Sequence[Box | None]) -> bool:
    """Whether the glances show one or two still pictures.

    Args:
        glances: in the order of time.
        boxes: where the face is thought to be in each, in pixels of the whole frame; None where that is not known.
    """
    known = [(glance, box) for glance, box in zip(glances, boxes, strict=True) if box is not None]
    inner = known[_FIRST_APART:-_LAST_APART] if len(known) >= _GLANCES else known
    if len(inner) < 2:
        return False
    # Uneven steps: with even ones a loop of frames could show another of them each time.
    steps = np.linspace(0, len(inner) - 1, _GLANCES) + np.resize([0, 1, -1, 0.6], _GLANCES)
    chosen = sorted({int(np.clip(round(step), 0, len(inner) - 1)) for step in steps})
    pictures: list[_Picture] = []
    for index in chosen:
        glance, box = inner[index]
        if any(_is_same(picture, glance) for picture in pictures):
            continue
        if len(pictures) == _MOST_PICTURES:
            return _is_still_on_average(known)
        pictures.append(_Picture(glance, *_points(glance, box)))
    steps = np.linspace(0, len(inner) - 1, min(len(inner), _MOST_CONFIRMED)).round()
    confirmed = [inner[int(step)] for step in steps]
    if len(pictures) == 1:
        fits = [_laid_over(pictures[0], glance) for glance, _ in confirmed]
        if not _is_head_apart([fits]):
            return True
        # Two pictures that are nearly one: the second is the one in which the head is farthest from where it was.
        farthest = confirmed[int(np.argmax([_FAR_PX if fit is None else fit.apart.most_px for fit in fits]))]
        pictures.append(_Picture(farthest[0], *_points(*farthest)))
    of_picture: list[list[_Fit | None]] = [[] for _ in pictures]
    for glance, _ in confirmed:
        laid = [_laid_over(picture, glance) for picture in pictures]
        apart = [_FAR_PX if fit is None else fit.apart.most_px for fit in laid]
        nearest = int(np.argmin(apart))
        of_picture[nearest].append(laid[nearest])
    return not _is_head_apart(of_picture)


def _is_head_apart(of_picture: Sequence[Sequence["_Fit | None"]]) -> bool:
    """Whether the face moves as a whole against what is around it, by more than the strays of single points explain.

    Args:
        of_picture: for each still picture, the maps that lead from it to its glances.
    """
    known = [[fit.apart for fit in fits if fit is not None] for fits in of_picture]
    lost = sum(fit is None for fits in of_picture for fit in fits)
    all_known = [apart for of_one in known for apart in of_one]
    if not all_known:
        return True
    stray = float(np.median([apart.stray_px for apart in all_known]))
    most = float(np.percentile([apart.most_px for apart in all_known] + [_FAR_PX] * lost, 80))
    places = [np.array([apart.shift_px for apart in of_one]) for of_one in known if of_one]
    swayed = np.concatenate([np.hypot(*(place - np.median(place, 0)).T) for place in places])
    return most > max(_APART_PX, _APART_OF_STRAY * stray) or (
        float(np.median(swayed)) > max(_SWAY_PX, _SWAY_OF_STRAY * stray)
    )


def _is_still_on_average(known: Sequence[tuple[Glance, Box]]) -> bool:
    """Whether what moves is noise: as much around the face as in it, and gone in the averages of the clip's parts."""
    if len(known) < 2 * _PARTS:
        return False
    steps = np.linspace(0, len(known) - 1, min(len(known), _MOST_AVERAGED)).round().astype(int)
    glances = [known[step][0] for step in steps]
    middle, box = known[steps[len(steps) // 2]]
    picture = _Picture(middle, *_points(middle, box))
    last = len(glances) - 1
    fits = {place: _laid_over(picture, glances[place]) for place in (0, last // 4, 3 * last // 4, last)}
    if _median_px(fits.values(), "face_px") > _MOVES_PX:
        return False
    for place, glance in enumerate(glances):
        if place not in fits and glance is not middle:
            fits[place] = _laid_over(picture, glance)
    moved = _median_px(fits.values(), "face_px")
    if moved > min(_MOVES_PX, _MOST_OF_AROUND * _median_px(fits.values(), "around_px")) or _is_head_apart(
        [[*fits.values()]]
    ):
        return False
    matrices = {place: fit.matrix for place, fit in fits.items() if fit is not None} | {len(steps) // 2: np.eye(2, 3)}
    parts = [[place for place in part if place in matrices] for part in np.array_split(range(len(glances)), _PARTS)]
    if not all(parts):
        return False
    means = [_mean([(glances[place].luma, matrices[place]) for place in part]) for part in parts]
    found = [_fit(one, other, picture.points, picture.of_face) for one, other in combinations(means, 2)]
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


@dataclass(frozen=True, slots=True)
class _Picture:
    """A glance and its points that can be followed."""

    glance: Glance
    points: NDArray[np.float32]
    """Shape (P, 1, 2), those of the face first."""
    of_face: int
    """How many are the face's."""


def _laid_over(picture: _Picture, other: Glance) -> "_Fit | None":
    """The map from a picture to another glance, and how far points move beside it; None where there is none."""
    one = picture.glance
    if picture.of_face < _LEAST_POINTS or one.luma.shape != other.luma.shape:
        return None
    fit = _fit(one.luma, other.luma, picture.points, picture.of_face)
    if fit is None or fit.face_px > _FAR_PX:
        return None
    again = _again(picture, other, fit)
    if again is None or again.face_px >= fit.face_px:
        return fit
    first = np.vstack([fit.matrix, [0.0, 0.0, 1.0]])
    return replace(again, matrix=np.asarray(again.matrix @ first))


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


def _is_same(picture: _Picture, other: Glance) -> bool:
    """Whether one affine map takes a picture's points, those of the face as well, to where they are in a glance."""
    one = picture.glance
    if picture.of_face < _LEAST_POINTS or one.luma.shape != other.luma.shape:
        return False
    fit = _fit(one.luma, other.luma, picture.points, picture.of_face)
    if fit is None or fit.face_px > _FAR_PX:
        return False
    if fit.is_same:
        return True
    again = _again(picture, other, fit)
    return again is not None and again.is_same


def _again(picture: _Picture, other: Glance, fit: "_Fit") -> "_Fit | None":
    """Once more after a map: points of a picture that was zoomed or turned are followed badly without it."""
    one = picture.glance.luma
    mapped = cv2.warpAffine(one, fit.matrix, one.shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    moved = (picture.points[:, 0] @ fit.matrix[:, :2].T + fit.matrix[:, 2]).astype(np.float32)[:, None]
    return _fit(np.asarray(mapped, np.uint8), other.luma, moved, picture.of_face)


@dataclass(frozen=True, slots=True)
class _Fit:
    """An affine map, and how far points move beside it: three quarters of them by less."""

    matrix: NDArray[np.float64]
    face_px: float
    around_px: float
    start: NDArray[np.float64]
    """The followed points with a 1 each, shape (P, 3), those of the face first."""
    end: NDArray[np.float32]
    """Where they are in the other picture, shape (P, 2)."""
    of_face: int

    @property
    def is_same(self) -> bool:
        return self.face_px < min(max(_SAME_PX, _AROUND * self.around_px), _SAME_MOST_PX)

    @property
    def apart(self) -> "_Apart":
        """How far the map of the face and that of its surroundings are apart; nothing where these have no points."""
        face, around = slice(None, self.of_face), slice(self.of_face, None)
        if len(self.start) < self.of_face + _LEAST_AROUND:
            return _Apart(0.0, np.zeros(2), 0.0)
        (of_the_face, _), (of_the_rest, left) = (_map(self.start[part], self.end[part]) for part in (face, around))
        away = self.start[face] @ (of_the_face - of_the_rest)
        return _Apart(float(np.sqrt((away**2).sum(1).mean())), away.mean(0), float(np.percentile(left, 75)))


@dataclass(frozen=True, slots=True)
class _Apart:
    """How far two maps take the face's points apart: that of these points, and that of the points around the face."""

    most_px: float
    """Root mean square."""
    shift_px: NDArray[np.float64]
    """Mean, shape (2,)."""
    stray_px: float
    """How far the points around the face move beside their own map: three quarters of them by less."""


def _fit(one: NDArray[np.uint8], other: NDArray[np.uint8], points: NDArray[np.float32], of_face: int) -> _Fit | None:
    """Follow the points there and back, and fit a map; None where most of the face's points get lost."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, points, np.empty_like(points), winSize=(15, 15))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, one, there, np.empty_like(points), winSize=(15, 15))
    followed = (found.ravel() == 1) & (found_back.ravel() == 1) & (np.abs(back - points).max((1, 2)) < 0.5)
    if followed[:of_face].sum() < max(_LEAST_POINTS, of_face / 2):
        return None
    start, end = np.c_[points[followed, 0], np.ones(followed.sum())], there[followed, 0]
    face = int(followed[:of_face].sum())
    matrix, left = _map(start, end)
    around = float(np.percentile(left[face:], 75)) if len(left) >= face + _LEAST_POINTS else 0.0
    return _Fit(matrix.T, float(np.percentile(left[:face], 75)), around, start, end, face)


def _map(start: NDArray[np.float64], end: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The affine map, shape (3, 2), from points (P, 3) with a 1 each to points (P, 2), and their distances beside it.

    Least absolute distances, by weighted least squares: what moves by itself does not pull the map.
    """
    weights = np.ones(len(start))
    for _ in range(5):
        matrix = np.linalg.lstsq(start * weights[:, None], end * weights[:, None], rcond=None)[0]
        left = np.hypot(*(start @ matrix - end).T)
        weights = np.sqrt(1 / np.maximum(left, 0.1))
    return matrix, left
