"""Follows a picture from glance to glance: small copies of a clip's frames, a fifth of a second apart.

Between two frames a second apart, honest motion is as large as a change of person. Between two a fifth of a second
apart it is not, and a cut is as large there as anywhere. Each step from one glance to the next is measured in ways that
need no network: how well the parts of the picture are found again nearby, how far its colours changed, and how well the
face is found again. A cross-fade has no large step; it shows as a picture that is the sum of those before and after.

Measured on 26 recordings of people who move, at a tenth of a second, against 270 cuts between them: colours differ by
0.07 at most, and by 0.18 at least across a cut (0.12 where the faces were laid over each other); the face is found
again with a correlation of 0.70 at least, across a cut with 0.41 at the median. Cross-fades of 0.4 to 1.2 s:
`gain * tint` is at most 0.018 in honest recordings and at least 0.066 in 95 % of the fades.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Box, Picture
from liveness_core.video import VideoFrame, reduced

GLANCE_SIDE_PX = 192
"""Longer side of a glance."""
_INTERVAL_S = 0.2
_MOST = 160  # of a longer clip there are fewer glances a second

_LOW = 48  # side of the picture that shows colours and light alone
_BINS = 16
_BLOCK, _REACH = 24, 14  # a block of the picture is looked for so far around its place
_LEAST_DETAIL = 6.0  # standard deviation of a block that can be found again
_FACE, _FACE_REACH = 24, 10

# What may differ from one glance to the next.
_ALIKE, _STILL_TINT = 0.92, 0.08  # below and above, the blocks are looked for
_LOST_BLOCK = 0.6
_MOST_TINT, _MOST_LOST = 0.10, 0.12
_LEAST_BLOCKS, _LEAST_FACE = 0.55, 0.6
# Cross-fades: glances so many steps before and after.
_FADE_REACH = (2, 3, 5)
_FADE, _LEAST_GAIN, _LEAST_WEIGHT = 0.035, 0.05, 0.1


@dataclass(frozen=True, slots=True)
class Glance:
    """A small copy of a frame."""

    position: int
    """Number of the frame in the video."""
    time_s: float
    """When it is shown."""
    luma: NDArray[np.uint8]
    """Shape (h, w), the longer side `GLANCE_SIDE_PX`."""
    low: NDArray[np.float32]
    """Luma and chroma of the whole picture at 48 x 48, each with mean 0, as one vector."""
    tint: NDArray[np.float32]
    """Histogram of the chroma, 16 x 16, sum 1."""
    size: tuple[int, int]
    """Width and height of the whole frame."""


@dataclass(frozen=True, slots=True)
class Step:
    """Two glances between which the picture seems to have been exchanged."""

    before: Glance
    after: Glance
    is_fade: bool = False
    """Whether one picture was faded into the other."""


def glance_positions(times: Sequence[float]) -> tuple[int, ...]:
    """The frames to glance at, by the clip's clock: the first, the last, and one every fifth of a second."""
    interval = max(_INTERVAL_S, times[-1] / _MOST)
    chosen = [0]
    for position in range(1, len(times)):
        if times[position] - times[chosen[-1]] >= interval - 1e-3 or position == len(times) - 1:
            chosen.append(position)
    return tuple(chosen)


def glance_of(frame: VideoFrame) -> Glance:
    """A glance at a frame."""
    height, width = frame.pixels.shape[:2]
    factor = min(GLANCE_SIDE_PX / max(height, width), 1.0)
    picture: Picture = frame.pixels
    if factor < 1:
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        picture = reduced(picture, size)
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    tint = np.asarray(cv2.calcHist([colours], [1, 2], None, [_BINS, _BINS], [64, 192, 64, 192]), np.float32)
    tint = np.asarray(cv2.GaussianBlur(tint / max(float(tint.sum()), 1.0), (3, 3), 0), np.float32)
    low = np.asarray(cv2.resize(colours, (_LOW, _LOW), interpolation=cv2.INTER_AREA), np.float32)
    low = np.asarray(cv2.GaussianBlur(np.multiply(low, (1, 2, 2), dtype=np.float32), (0, 0), 1), np.float32)
    low -= np.asarray(cv2.mean(low)[:3], np.float32)
    return Glance(
        frame.position,
        frame.time_s,
        np.ascontiguousarray(colours[..., 0]).astype(np.uint8, copy=False),
        low.ravel(),
        tint,
        (frame.width, frame.height),
    )


def follow(glances: Sequence[Glance], boxes: Sequence[Box | None]) -> list[Step]:
    """The steps in which the picture, or the face, seems to have been exchanged.

    Args:
        glances: in the order of time.
        boxes: where the face is thought to be in each, in pixels of the whole frame; None where that is not known.
    """
    steps = [
        Step(before, after)
        for before, after, box in zip(glances, glances[1:], boxes, strict=False)
        if _is_exchanged(before, after, box)
    ]
    return steps + _fades(glances)


def _is_exchanged(before: Glance, after: Glance, box: Box | None) -> bool:
    if before.luma.shape != after.luma.shape:
        return False  # the camera was turned: nothing is where it was, and only the looks of the faces can be compared
    tint = _tint(before, after)
    if tint >= _STILL_TINT or _correlation(before.low, after.low) < _ALIKE:
        # Where few colours differ the median alone counts, and more than half of the blocks decide it.
        found = _found_again(before.luma, after.luma, most_needed=0.5 if tint < _MOST_TINT else 1.0)
        lost = float((found < _LOST_BLOCK).mean())
        if tint >= _MOST_TINT and lost >= _MOST_LOST:
            return True
        if float(np.median(found)) < _LEAST_BLOCKS:
            return True
    return box is not None and _face_found_again(before, after, box) < _LEAST_FACE


def _tint(one: Glance, other: Glance) -> float:
    """How much of the picture has other colours, in [0, 1]."""
    return float(np.abs(one.tint - other.tint).sum()) / 2


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other) / (float(np.sqrt((one @ one) * (other @ other))) + 1e-3)


def _found_again(
    before: NDArray[np.uint8], after: NDArray[np.uint8], *, most_needed: float = 1.0
) -> NDArray[np.float32]:
    """For each block of detail, the best correlation in its surroundings; of a picture without detail [1].

    Args:
        before: luma, shape (h, w).
        after: luma of the next glance.
        most_needed: once more than this share of the blocks is found with `_LEAST_BLOCKS` or more, no other one is
            looked for, and these alone are given.
    """
    height, width = before.shape
    around = cv2.copyMakeBorder(after, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REFLECT_101)
    places = [(y, x) for y in range(0, height - _BLOCK + 1, _BLOCK) for x in range(0, width - _BLOCK + 1, _BLOCK)]
    blocks = [(before[y : y + _BLOCK, x : x + _BLOCK], y, x) for y, x in places]
    blocks = [block for block in blocks if block[0].std() >= _LEAST_DETAIL]
    if len(blocks) < 4:
        return np.array([1.0], np.float32)
    found: list[float] = []
    for block, y, x in blocks:
        place = around[y : y + _BLOCK + 2 * _REACH, x : x + _BLOCK + 2 * _REACH]
        found.append(float(cv2.matchTemplate(place, block, cv2.TM_CCOEFF_NORMED).max()))
        enough = [value for value in found if value >= _LEAST_BLOCKS]
        if len(enough) > most_needed * len(blocks):
            return np.array(enough, np.float32)
    return np.array(found, np.float32)


def _face_found_again(before: Glance, after: Glance, box: Box) -> float:
    """The best correlation of the face with what is near its place in the next glance, in [-1, 1]."""
    factor = before.luma.shape[1] / before.size[0]
    side = max(box.width, box.height) * factor
    zoom = _FACE / max(side, 4.0)
    x, y = (centre * factor for centre in box.centre)

    def view(luma: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
        half = _FACE / 2 + reach
        matrix = np.array([[zoom, 0, half - zoom * x], [0, zoom, half - zoom * y]], np.float32)
        size = (_FACE + 2 * reach,) * 2
        return cv2.warpAffine(luma, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101).astype(
            np.uint8, copy=False
        )

    face, place = view(before.luma, 0), view(after.luma, _FACE_REACH)
    if face.std() < _LEAST_DETAIL:
        return 1.0
    best = -1.0
    for scale in (1.0, 0.9, 1.1):
        scaled = face if scale == 1 else cv2.resize(face, None, fx=scale, fy=scale)
        best = max(best, float(cv2.matchTemplate(place, scaled, cv2.TM_CCOEFF_NORMED).max()))
        if best >= _LEAST_FACE:
            break
    return best


def _fades(glances: Sequence[Glance]) -> list[Step]:
    """The cross-fades.

    A glance m between p and n is fitted as a p + b n by least squares. `gain` is how much more of m's variance the sum
    explains than p or n alone does. Something that moves is not such a sum, and something that stays needs no sum.
    """
    if len(glances) < 2 * _FADE_REACH[0] + 1:
        return []
    low = np.stack([glance.low for glance in glances])
    gram = (low @ low.T).astype(np.float64) + 1e-3 * np.eye(len(glances))
    fades = []
    for middle in range(len(glances)):
        for reach in _FADE_REACH:
            first, last = middle - reach, middle + reach
            if first < 0 or last >= len(glances):
                continue
            pp, nn, mm = gram[first, first], gram[last, last], gram[middle, middle]
            pn, pm, nm = gram[first, last], gram[first, middle], gram[last, middle]
            determinant = pp * nn - pn * pn
            if determinant <= 1e-6 * pp * nn:
                continue
            a, b = (pm * nn - nm * pn) / determinant, (nm * pp - pm * pn) / determinant
            gain = (a * pm + b * nm) / mm - max(max(pm, 0) ** 2 / (pp * mm), max(nm, 0) ** 2 / (nn * mm))
            if gain < _LEAST_GAIN or min(a, b) < _LEAST_WEIGHT:
                continue
            if gain * _tint(glances[first], glances[last]) >= _FADE:
                fades.append(Step(glances[first], glances[last], is_fade=True))
    return fades[:1]
