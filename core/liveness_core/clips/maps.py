"""Lays one glance of a clip over another: points are followed, and one affine map takes all of them along.

Points of the face and of what is around it are followed between two glances by the method of Lucas and Kanade, there
and back. How far they move beside the map, and how far the map of the face is apart from that of its surroundings,
tells a picture that moves as a whole from a scene in which something moves against something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.clips.glances import Glance
from liveness_core.types import Box

_SAME_PX, _SAME_MOST_PX = 0.2, 0.35
"""Of the face's points in a still, three quarters move by less than this beside the map, in pixels of a glance; by more
where what is around the face does too, as it does after strong compression, but never by more than the second."""
_AROUND = 1.2
FAR_PX = 4.0  # beyond, a map that was fitted says nothing
_POINTS, _LEAST_POINTS = 50, 6
_WINDOW = (15, 15)  # what is compared around a point, in pixels
_ENOUGH = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
"""Steps to look for a point, and pixels of a step that is the last one; more move no point by 0.005 pixels."""
_STRAY_PX = 0.65
"""What a map leaves is noise up to this, and beyond by how far the map deforms the edge of a window. Where a second fit
after the map made a still of two glances, of 107 recordings, stretches and stills, it was at most 0.38 pixels, or 5.8
times the deformation of a pixel."""
_LEAST_AROUND, _UNSURE = 8, 0.25


@dataclass(frozen=True, slots=True)
class Still:
    """A glance and its points that can be followed."""

    glance: Glance
    points: NDArray[np.float32]
    """Shape (P, 1, 2), those of the face first."""
    of_face: int
    """How many are the face's."""


def laid_over(picture: Still, other: Glance, *, least: bool = False) -> "Fit | None":
    """The map from a picture to another glance, and how far points move beside it; None where there is none.

    Args:
        picture: a glance with its points.
        other: the other glance.
        least: see `fit_between`.
    """
    fit = _directly(picture, other, least=least)
    if fit is None or not fit.may_gain:
        return fit
    again = _again(picture, other, fit)
    if again is None or again.face_px >= fit.face_px:
        return fit
    first = np.vstack([fit.matrix, [0.0, 0.0, 1.0]])
    matrix = np.asarray(again.matrix @ first)
    points = picture.points[:, 0]
    return replace(again, matrix=matrix, moved_px=_rms(points @ matrix[:, :2].T + matrix[:, 2] - points))


def is_same(picture: Still, other: Glance) -> bool:
    """Whether one affine map takes a picture's points, those of the face as well, to where they are in a glance."""
    fit = _directly(picture, other, least=True)
    if fit is None or fit.is_same or not fit.may_gain:
        return fit is not None and fit.is_same
    again = _again(picture, other, fit)
    return again is not None and again.is_same


def points_of(glance: Glance, box: Box) -> tuple[NDArray[np.float32], int]:
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


def _directly(picture: Still, other: Glance, *, least: bool = False) -> "Fit | None":
    """The map to a glance from the picture as it is; see `fit_between`."""
    one = picture.glance
    if picture.of_face < _LEAST_POINTS or one.luma.shape != other.luma.shape:
        return None
    fit = fit_between(one.luma, other.luma, picture.points, picture.of_face, least=least)
    return None if fit is None or fit.face_px > FAR_PX else fit


def _again(picture: Still, other: Glance, fit: "Fit") -> "Fit | None":
    """Once more after a map: points of a picture that was zoomed or turned are followed badly without it."""
    one = picture.glance.luma
    mapped = cv2.warpAffine(one, fit.matrix, one.shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    moved = (picture.points[:, 0] @ fit.matrix[:, :2].T + fit.matrix[:, 2]).astype(np.float32)[:, None]
    return fit_between(np.asarray(mapped, np.uint8), other.luma, moved, picture.of_face)


@dataclass(frozen=True, slots=True)
class Fit:
    """An affine map, and how far points move beside it: three quarters of them by less."""

    matrix: NDArray[np.float64]
    face_px: float
    around_px: float
    start: NDArray[np.float64]
    """The followed points with a 1 each, shape (P, 3), those of the face first."""
    end: NDArray[np.float32]
    """Where they are in the other picture, shape (P, 2)."""
    of_face: int
    moved_px: float
    """How far the map takes the points. Root mean square."""

    @property
    def is_same(self) -> bool:
        """Whether the face moves by no more than that of a still."""
        return self.face_px < min(max(_SAME_PX, _AROUND * self.around_px), _SAME_MOST_PX)

    @property
    def may_gain(self) -> bool:
        """Whether a second fit after this map may leave much less: a window that was deformed is followed badly."""
        deformed = float(np.linalg.norm(self.matrix[:, :2] - np.eye(2)))
        return self.face_px <= _STRAY_PX + _WINDOW[0] / 2 * deformed

    @property
    def apart(self) -> "Apart":
        """How far the map of the face and that of its surroundings are apart; nothing where these have no points."""
        face, around = slice(None, self.of_face), slice(self.of_face, None)
        if len(self.start) < self.of_face + _LEAST_AROUND:
            return Apart(0.0, np.zeros(2), 0.0, self.moved_px)
        (of_the_face, _), (of_the_rest, left) = (_map(self.start[part], self.end[part]) for part in (face, around))
        away = self.start[face] @ (of_the_face - of_the_rest)
        # Points on one side of the face say little about the other side: how much surer a point's place would be.
        known = self.start[around]
        unsure = np.einsum("pi,ij,pj->p", self.start[face], np.linalg.pinv(known.T @ known), self.start[face]).mean()
        away /= max(1.0, float(np.sqrt(unsure / _UNSURE)))
        most = float(np.sqrt((away**2).sum(1).mean()))
        return Apart(most, away.mean(0), float(np.percentile(left, 75)), self.moved_px)


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two maps take the face's points apart: that of these points, and that of the points around the face."""

    most_px: float
    """Root mean square."""
    shift_px: NDArray[np.float64]
    """Mean, shape (2,)."""
    stray_px: float
    """How far the points around the face move beside their own map: three quarters of them by less."""
    moved_px: float
    """How far the map of all points takes them. Root mean square."""


def fit_between(
    one: NDArray[np.uint8], other: NDArray[np.uint8], points: NDArray[np.float32], of_face: int, *, least: bool = False
) -> Fit | None:
    """Follow the points there and back, and fit a map; None where most of the face's points get lost.

    Args:
        one: luma, shape (h, w).
        other: luma of the other glance.
        points: those to follow, shape (P, 1, 2), those of the face first.
        of_face: how many are the face's.
        least: do not follow the points back where the face moves beside the map by far more than a still's.
    """
    ahead, found, _ = cv2.calcOpticalFlowPyrLK(
        one, other, points, np.empty_like(points), winSize=_WINDOW, criteria=_ENOUGH
    )
    there, followed = np.asarray(ahead, np.float32), found.ravel() == 1
    fit = _fit(points, there, followed, of_face) if least else None
    if fit is not None and not fit.may_gain:
        return fit
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        other, one, there, np.empty_like(points), winSize=_WINDOW, criteria=_ENOUGH
    )
    return _fit(
        points, there, followed & (found_back.ravel() == 1) & (np.abs(back - points).max((1, 2)) < 0.5), of_face
    )


def _fit(
    points: NDArray[np.float32], there: NDArray[np.float32], followed: NDArray[np.bool_], of_face: int
) -> Fit | None:
    """The map of the points that were followed; None where these are less than half of the face's."""
    if followed[:of_face].sum() < max(_LEAST_POINTS, of_face / 2):
        return None
    start, end = np.c_[points[followed, 0], np.ones(followed.sum())], there[followed, 0]
    face = int(followed[:of_face].sum())
    matrix, left = _map(start, end)
    around = float(np.percentile(left[face:], 75)) if len(left) >= face + _LEAST_POINTS else 0.0
    moved = _rms(start @ matrix - start[:, :2])
    return Fit(matrix.T, float(np.percentile(left[:face], 75)), around, start, end, face, moved)


def _rms(shifts: NDArray[np.float64]) -> float:
    """Root mean square of shifts, shape (P, 2)."""
    return float(np.sqrt((shifts**2).sum(1).mean()))


def _map(start: NDArray[np.float64], end: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The affine map, shape (3, 2), from points (P, 3) with a 1 each to points (P, 2), and their distances beside it.

    Least absolute distances, by weighted least squares: what moves by itself does not pull the map.
    """
    weights = np.ones(len(start))
    for _ in range(5):
        solved = np.linalg.lstsq(start * weights[:, None], end * weights[:, None], rcond=None)[0]
        matrix = np.asarray(solved, np.float64)
        left = np.asarray(np.hypot(*(start @ matrix - end).T), np.float64)
        weights = np.sqrt(1 / np.maximum(left, 0.1))
    return matrix, left


def mean_of(laid: Sequence[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> NDArray[np.uint8]:
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
