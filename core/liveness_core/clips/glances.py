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

from collections.abc import Callable, Sequence
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
_DOUBTFUL = 0.8
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


def follow(
    glances: Sequence[Glance],
    boxes: Sequence[Box | None],
    is_exchanged: Callable[[Glance, Glance], bool] | None = None,
) -> list[Step]:
    """The steps in which the picture, or the face, seems to have been exchanged.

    Args:
        glances: in the order of time.
        boxes: where the face is thought to be in each, in pixels of the whole frame; None where that is not known.
        is_exchanged: `is_picture_exchanged`, or what remembers its answers.
    """
    is_exchanged = is_exchanged or is_picture_exchanged
    steps = [
        Step(before, after)
        for before, after, box in zip(glances, glances[1:], boxes, strict=False)
        # Where the camera was turned nothing is where it was, and only the looks of the faces can be compared.
        if before.luma.shape == after.luma.shape
        and (is_exchanged(before, after) or (box is not None and _face_found_again(before, after, box) < _LEAST_FACE))
    ]
    return steps + _fades(glances)


def is_doubtful(before: Glance, after: Glance) -> bool:
    """Whether so much differs that the face may seem to be exchanged as well."""
    return _correlation(before.low, after.low) < _DOUBTFUL


def is_picture_exchanged(before: Glance, after: Glance) -> bool:
    """Whether the picture seems to have been exchanged between two glances, whatever became of the face."""
    if before.luma.shape != after.luma.shape:
        return False
    tint = _tint(before, after)
    if tint >= _STILL_TINT or _correlation(before.low, after.low) < _ALIKE:
        # Where few colours differ the median alone counts, and more than half of the blocks decide it.
        strict = tint >= _MOST_TINT
        found = _found_again(
            before.luma,
            after.luma,
            enough=_LOST_BLOCK if strict else _LEAST_BLOCKS,
            most_needed=1 - _MOST_LOST if strict else 0.5,
        )
        if strict and float((found < _LOST_BLOCK).mean()) >= _MOST_LOST:
            return True
        return float(np.median(found)) < _LEAST_BLOCKS
    return False


def _tint(one: Glance, other: Glance) -> float:
    """How much of the picture has other colours, in [0, 1]."""
    return float(np.abs(one.tint - other.tint).sum()) / 2


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other) / (float(np.sqrt((one @ one) * (other @ other))) + 1e-3)


def _found_again(
    before: NDArray[np.uint8], after: NDArray[np.uint8], *, enough: float = 0.0, most_needed: float = 1.0
) -> NDArray[np.float32]:
    """For each block of detail, the best correlation in its surroundings; of a picture without detail [1].

    Args:
        before: luma, shape (h, w).
        after: luma of the next glance.
        enough: a block that correlates by so much somewhere counts as found.
        most_needed: once more than this share of the blocks is found, no other one is looked for, and what is known of
            these alone is given. What stays in its place is known without a search.
    """
    down, across = (side // _BLOCK for side in before.shape)
    blocks, deviations = _centred(before, down, across)
    detailed = np.flatnonzero(deviations >= _LEAST_DETAIL)
    if len(detailed) < 4:
        return np.array([1.0], np.float32)
    others, other_deviations = _centred(after, down, across)
    products = np.einsum("np,np->n", blocks[detailed], others[detailed]) / _BLOCK**2
    least = np.maximum(deviations[detailed] * other_deviations[detailed], 1e-3)
    found = np.asarray(products / least, np.float32)
    around = cv2.copyMakeBorder(after, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REFLECT_101)
    for number in np.argsort(found >= enough, kind="stable"):
        is_found = found >= enough
        if is_found.sum() > most_needed * len(found):
            return np.asarray(found[is_found], np.float32)
        y, x = (int(place) * _BLOCK for place in divmod(detailed[number], across))
        place = around[y : y + _BLOCK + 2 * _REACH, x : x + _BLOCK + 2 * _REACH]
        block = before[y : y + _BLOCK, x : x + _BLOCK]
        found[number] = cv2.matchTemplate(place, block, cv2.TM_CCOEFF_NORMED).max()
    return found


def _centred(luma: NDArray[np.uint8], down: int, across: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The blocks of a glance without their means, shape (B, pixels), row by row, and their standard deviations."""
    whole = luma[: down * _BLOCK, : across * _BLOCK].astype(np.float32)
    blocks = whole.reshape(down, _BLOCK, across, _BLOCK).swapaxes(1, 2).reshape(down * across, _BLOCK**2)
    blocks -= blocks.mean(1, keepdims=True)
    return blocks, np.sqrt(np.einsum("np,np->n", blocks, blocks) / _BLOCK**2)


def _face_found_again(before: Glance, after: Glance, box: Box) -> float:
    """How well the face correlates with what is near its place in the next glance, in [-1, 1]: the best, or enough."""
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

    face = view(before.luma, 0)
    if float(cv2.meanStdDev(face)[1][0, 0]) < _LEAST_DETAIL:
        return 1.0
    # Most faces stay nearly where they were.
    best = float(cv2.matchTemplate(view(after.luma, 0), face, cv2.TM_CCOEFF_NORMED)[0, 0])
    if best >= _LEAST_FACE:
        return best
    place = view(after.luma, _FACE_REACH)
    for scale in (1.0, 0.9, 1.1):
        scaled = face if scale == 1 else cv2.resize(face, None, fx=scale, fy=scale)
        best = max(best, float(cv2.matchTemplate(place, scaled, cv2.TM_CCOEFF_NORMED).max()))
        if best >= _LEAST_FACE:
            break
    return best


def _fades(glances: Sequence[Glance]) -> list[Step]:
    """The first cross-fade, if there is one.

    A glance m between p and n is fitted as a p + b n by least squares. `gain` is how much more of m's variance the sum
    explains than p or n alone does. Something that moves is not such a sum, and something that stays needs no sum.
    """
    if len(glances) < 2 * _FADE_REACH[0] + 1:
        return []
    low = np.stack([glance.low for glance in glances])
    gram = (low @ low.T).astype(np.float64) + 1e-3 * np.eye(len(glances))
    found = []
    for reach in _FADE_REACH:
        middles = np.arange(reach, len(glances) - reach)
        first, last = middles - reach, middles + reach
        pp, nn, mm = gram[first, first], gram[last, last], gram[middles, middles]
        pn, pm, nm = gram[first, last], gram[first, middles], gram[last, middles]
        determinant = pp * nn - pn * pn
        is_sum = determinant > 1e-6 * pp * nn
        divisor = np.where(is_sum, determinant, 1.0)
        a, b = (pm * nn - nm * pn) / divisor, (nm * pp - pm * pn) / divisor
        alone = np.maximum(np.maximum(pm, 0) ** 2 / (pp * mm), np.maximum(nm, 0) ** 2 / (nn * mm))
        gain = (a * pm + b * nm) / mm - alone
        is_sum &= (gain >= _LEAST_GAIN) & (np.minimum(a, b) >= _LEAST_WEIGHT)
        found += [(int(middles[n]), reach, float(gain[n])) for n in np.flatnonzero(is_sum)]
    for middle, reach, gained in sorted(found):
        one, other = glances[middle - reach], glances[middle + reach]
        if gained * _tint(one, other) >= _FADE:
            return [Step(one, other, is_fade=True)]
    return []
