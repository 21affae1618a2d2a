"""Tells what changes by itself before a camera at rest, where no point moves far enough to be followed.

Eyes that close, a mouth and shades on the skin change what is seen by several grey levels. Of a still picture nothing
is left but noise and what a coder loses, and that is as strong around the face. Two stills in turn are two such
pictures, so each glance is compared with the mean of those that it resembles.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.clips.glances import Glance
from liveness_core.types import Box

_BLUR_PX = 1.2  # noise of single pixels goes, an eyelid stays
_BLUR_REACH = 6  # pixels that far away do not count
_AWAY_PX = 12  # hair and collar are no surroundings: they move with the head
_LEAST_AROUND = 200
_PIXELS, _GLANCES = 97, 85  # percentiles: the largest change in a glance, of the glances the livelier ones
_ROUNDS = 3
# Grey levels; multiples of the change around the face; standard deviations of the face's pixels. Of 322 stills before a
# camera at rest (frozen, with noise, two in turn; nine encoders and qualities) the face changes by at most 2.3 levels,
# of 554 recordings, stretches and sequences of people by 2.35 at least, and by 0.064 deviations at least. Where the
# surroundings change little, people's faces change 1.8 times as much; stills with more than 1.7 levels 1.3 times.
_LEAST, _OF_AROUND = 2.8, 1.8
_NOTHING, _NOTHING_OF_CONTRAST = 1.8, 0.05


class Changes:
    """How far glances differ from their mean, or from the nearer of two, in grey levels."""

    def __init__(self, glances: Sequence[Glance], box: Box) -> None:
        """Compare glances of one size.

        Args:
            glances: two at least, of a picture that does not move.
            box: where the face is, in pixels of the whole frame.
        """
        luma = np.stack([glance.luma for glance in glances])
        factor = luma.shape[2] / glances[0].size[0]
        x1, y1, x2, y2 = (max(round(side * factor), 0) for side in (box.x1, box.y1, box.x2, box.y2))
        face, around = np.zeros(luma.shape[1:], bool), np.ones(luma.shape[1:], bool)
        face[y1:y2, x1:x2] = True
        around[max(y1 - _AWAY_PX, 0) : y2 + _AWAY_PX, max(x1 - _AWAY_PX, 0) : x2 + _AWAY_PX] = False
        self._luma, self._around = luma, around if around.sum() >= _LEAST_AROUND else ~face
        rows = np.zeros((len(luma), 0), np.float32)
        if face.any():
            part = slice(max(y1 - _BLUR_REACH, 0), y2 + _BLUR_REACH), slice(max(x1 - _BLUR_REACH, 0), x2 + _BLUR_REACH)
            rows = _blurred(luma[:, *part])[:, face[part]]
        self._is_other = _two_kinds(rows)
        self._of_face = _largest(rows, self._is_other)
        self._contrast = float(luma[len(luma) // 2][face].std()) if face.any() else 0.0

    @property
    def are_none(self) -> bool:
        """Whether the face changes by less than any living one."""
        return self._of_face < min(_NOTHING, _NOTHING_OF_CONTRAST * self._contrast)

    @property
    def are_of_the_face(self) -> bool:
        """Whether the face changes by more than what is around it."""
        if self._of_face <= _LEAST:
            return False
        return self._of_face > _OF_AROUND * _largest(_blurred(self._luma)[:, self._around], self._is_other)


def _blurred(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each of some pictures, shape (T, h, w), blurred."""
    return np.stack([cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _BLUR_PX) for picture in luma]).astype(
        np.float32, copy=False
    )


def _two_kinds(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the rows resemble the one that is least like the first, shape (T,)."""
    is_other = np.zeros(len(rows), bool)
    if not rows.size:
        return is_other
    one = rows[0]
    other = rows[((rows - one) ** 2).mean(1).argmax()]
    for _ in range(_ROUNDS):
        is_other = ((rows - other) ** 2).mean(1) < ((rows - one) ** 2).mean(1)
        if is_other.all() or not is_other.any():
            break
        one, other = rows[~is_other].mean(0), rows[is_other].mean(0)
    return is_other


def _largest(rows: NDArray[np.float32], is_other: NDArray[np.bool_]) -> float:
    """How far the rows, shape (T, N), differ from the mean of their kind: the largest changes of the livelier ones."""
    if not rows.size:
        return 0.0
    changes = rows.copy()
    for kind in (is_other, ~is_other):
        if kind.any():
            changes[kind] -= changes[kind].mean(0)
    return float(np.percentile(np.percentile(np.abs(changes), _PIXELS, axis=1), _GLANCES))
