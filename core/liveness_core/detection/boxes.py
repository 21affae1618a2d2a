"""Arithmetic on arrays of candidate boxes. The rows of boxes_N5 are x1, y1, x2, y2, confidence."""

import numpy as np
from numpy.typing import NDArray


def non_maximum(boxes_N5: NDArray[np.float32], max_overlap: float, *, of_smaller: bool = False) -> NDArray[np.intp]:
    """Non-maximum suppression: the rows to keep, most confident first, so that no two of them overlap too much.

    Args:
        boxes_N5: the candidates.
        max_overlap: largest overlap of two kept boxes, from 0 to 1.
        of_smaller: measure overlap as intersection over the area of the smaller box, not over the union.
    """
    if len(boxes_N5) <= 1:
        return np.arange(len(boxes_N5))
    x1, y1, x2, y2, confidence = boxes_N5.T
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    order = np.argsort(-confidence, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        overlap_x = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]))
        overlap_y = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]))
        shared = overlap_x * overlap_y
        whole = np.minimum(areas[best], areas[rest]) if of_smaller else areas[best] + areas[rest] - shared
        order = rest[shared <= max_overlap * whole]
    return np.asarray(kept, dtype=np.intp)


def refine(boxes_N5: NDArray[np.float32], offsets_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move each side of each box by its offset, which is a share of the box's width or height."""
    sides_N2 = boxes_N5[:, 2:4] - boxes_N5[:, 0:2]
    moved = boxes_N5.copy()
    moved[:, :4] += np.concatenate([sides_N2, sides_N2], axis=1) * offsets_N4
    return moved


def squares(boxes_N5: NDArray[np.float32]) -> NDArray[np.float32]:
    """The boxes extended to squares around their centres."""
    centres_N2 = (boxes_N5[:, 0:2] + boxes_N5[:, 2:4]) / 2
    half_N1 = np.max(boxes_N5[:, 2:4] - boxes_N5[:, 0:2], axis=1, keepdims=True) / 2
    return np.concatenate([centres_N2 - half_N1, centres_N2 + half_N1, boxes_N5[:, 4:]], axis=1)
