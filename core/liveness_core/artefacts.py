"""What a camera or an encoder adds to a face that was not there: noise of little light, edges of coded blocks.

Both change what a network sees more than they change what a person sees, and both look like detail to a measure of
sharpness.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Box, Picture, Point

_WINDOW, _STEP = 5, 2
_QUIETEST: Final = 0.05  # share of the windows that count as smooth: in the others it is texture that is measured
_SEEN: Final = (16, 239)  # mean luma of windows that count: what is black or burnt out shows no noise
_FEWEST: Final = 9
_TILE, _TILES = 16, 8  # pixels of a tile's side, tiles across: grain is looked at in so many places of a picture
_BLOCK: Final = 8  # pixels: sides of the blocks of JPEG, and of the transforms of video coders or twice of these
_LARGE_STEP: Final = 20.0  # grey levels: a larger difference is an edge of the scene
# Second differences in both directions; zero on every plane and every straight edge along an axis. Scaled so that white
# noise keeps its standard deviation (Immerkaer, 1996).
_RESIDUAL: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def noise(luma: NDArray[np.float32]) -> float:
    """Standard deviation of the noise in the smooth parts of a picture, shape (H, W), in grey levels; 0 if too small.

    The residual of a filter that passes over planes and edges is averaged in small windows; the quiet ones count.
    """
    residual = cv2.filter2D(luma, cv2.CV_32F, _RESIDUAL)
    level = cv2.boxFilter(luma, cv2.CV_32F, (_WINDOW, _WINDOW))
    return math.sqrt(quiet_power(np.asarray(residual, np.float32), _QUIETEST, (level > _SEEN[0]) & (level < _SEEN[1])))


def grain(picture: Picture, centre: Point, side_px: float) -> float:
    """Standard deviation of the noise between neighbouring pixels in the smooth parts of a square, in grey levels.

    Light that is missing shows here more than in any crop: a sensor's noise differs from pixel to pixel, while
    enlarging, a lens and a coder leave neighbours alike. Only tiles of the square are looked at, so that a large face
    takes no longer than a small one.

    Args:
        picture: upright RGB picture, shape (H, W, 3), in the pixels in which it was decoded.
        centre: of the square, in pixels.
        side_px: of the square; what lies outside the picture does not count.

    Returns:
        0 where the picture is too small to tell.
    """
    height, width = picture.shape[:2]
    (x, y), reach = centre, side_px / 2
    part = picture[max(int(y - reach), 0) : min(math.ceil(y + reach), height)]
    part = part[:, max(int(x - reach), 0) : min(math.ceil(x + reach), width)]
    down, across = (min(side // _TILE, _TILES) for side in part.shape[:2])
    if min(down, across) < 1:
        return 0.0
    step_y, step_x = part.shape[0] // down, part.shape[1] // across
    tiles = part[: down * step_y, : across * step_x].reshape(down, step_y, across, step_x, 3)[:, :_TILE, :, :_TILE]
    luma = luma_of(tiles.reshape(down * _TILE, across * _TILE, 3))
    residual = cv2.filter2D(luma, cv2.CV_32F, _RESIDUAL)
    power = cv2.boxFilter(residual * residual, cv2.CV_32F, (_WINDOW, _WINDOW))
    level = cv2.boxFilter(luma, cv2.CV_32F, (_WINDOW, _WINDOW))
    # Windows that reach over the edge of a tile would see its neighbour.
    inside = slice(_WINDOW // 2 + 1, -(_WINDOW // 2 + 1), _STEP)
    powers, levels = (
        np.asarray(each, np.float32).reshape(down, _TILE, across, _TILE)[:, inside, :, inside]
        for each in (power, level)
    )
    seen = powers[(levels > _SEEN[0]) & (levels < _SEEN[1])]
    return math.sqrt(_quantile(seen, _QUIETEST)) if seen.size >= _FEWEST else 0.0


def quiet_power(response: NDArray[np.float32], share: float, counted: NDArray[np.bool_] | None = None) -> float:
    """Mean square of a filter's response in the quiet parts of a picture, where it is noise alone.

    Args:
        response: what the filter gives, shape (H, W).
        share: share of the windows that are quieter than the value.
        counted: where the windows lie that count, shape (H, W); None for everywhere.

    Returns:
        0 where the picture is too small to tell.
    """
    if min(response.shape) < 2 * _WINDOW:
        return 0.0
    inside = slice(_WINDOW // 2 + 1, -(_WINDOW // 2 + 1), _STEP)
    power = np.asarray(cv2.boxFilter(response * response, cv2.CV_32F, (_WINDOW, _WINDOW)), np.float32)[inside, inside]
    seen = power.ravel() if counted is None else power[counted[inside, inside]]
    return _quantile(seen, share) if seen.size >= _FEWEST else 0.0


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """As NumPy's `quantile`, which takes twice as long for so few values."""
    at = share * (values.size - 1)
    below = min(int(at), values.size - 2)
    ordered = np.partition(values, below + 1)  # both at once would take twice as long
    low, high = float(ordered[: below + 1].max()), float(ordered[below + 1])
    return low + (high - low) * (at - below)


def blockiness(luma: NDArray[np.float32], box: Box) -> float:
    """How much larger the steps between coded blocks are than those inside, in a face; 0 where they are alike.

    A picture that was made smaller or larger since it was coded has no such edges any more, and gets about 0.

    Args:
        luma: the picture, shape (H, W), in grey levels.
        box: the face's box.
    """
    height, width = luma.shape
    inside = box.clipped(width, height)
    x1, y1, x2, y2 = int(inside.x1), int(inside.y1), int(inside.x2), int(inside.y2)
    if min(x2 - x1, y2 - y1) < 3 * _BLOCK:
        return 0.0
    part = luma[y1 : y2 + 1, x1 : x2 + 1]
    across = _mean_steps(part[: y2 - y1, :-1], part[: y2 - y1, 1:], 0)
    down = _mean_steps(part[:-1, : x2 - x1], part[1:, : x2 - x1], 1)
    return max((_excess(across, x1) + _excess(down, y1)) / 2, 0.0)


def _mean_steps(one: NDArray[np.float32], other: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The mean over an axis of the steps from one picture to the other."""
    _, steps = cv2.threshold(cv2.absdiff(one, other), _LARGE_STEP, 0, cv2.THRESH_TRUNC)  # the smaller of the two
    return np.asarray(cv2.reduce(steps, axis, cv2.REDUCE_AVG), np.float32).ravel()


def _excess(steps: NDArray[np.float32], start: int) -> float:
    """By how much the steps at the blocks' edges exceed the others, as a share of these."""
    at_edges = steps[(_BLOCK - 1 - start) % _BLOCK :: _BLOCK]
    edges = float(at_edges.sum())
    others = (float(steps.sum()) - edges) / (steps.size - at_edges.size)
    return (edges / at_edges.size - others) / (others + 0.1)


def luma_of(picture: Picture) -> NDArray[np.float32]:
    """The picture's luma in grey levels, shape (H, W); not rounded, since that would add noise.

    Channel by channel: three channels in float would take 100 MB of a face that fills a 4K frame.
    """
    red, green, blue = planes = np.empty((3, *picture.shape[:2]), np.uint8)
    cv2.split(picture, list(planes))  # into memory of one piece: OpenCV's own three take twice as long
    luma = cv2.addWeighted(red, 0.299, green, 0.587, 0, dtype=cv2.CV_32F)
    return np.asarray(cv2.addWeighted(luma, 1, blue, 0.114, 0, dst=luma, dtype=cv2.CV_32F), np.float32)
