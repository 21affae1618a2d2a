"""Tells whether a face changes before a camera at rest, where its points hardly move.

Eyes that close, a mouth and shades on the skin change what is seen by several grey levels and move no point that can be
followed. Of a still picture before a camera at rest nothing is left but noise, and that is as strong around the face.
Two stills in turn are two such pictures, so each glance is compared with the mean of those that it resembles.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.clips.glances import Glance
from liveness_core.types import Box

_BLUR_PX = 1.2  # noise of single pixels goes, an eyelid stays
_AWAY_PX = 12  # hair and collar are no surroundings: they move with the head
_LEAST_AROUND = 200
_PIXELS, _GLANCES = 97, 85  # percentiles: the largest change in a glance, of the glances the livelier ones
# Grey levels, and multiples of the change around the face. Of 162 stills (frozen, with noise, two in turn; nine
# encoders and qualities) the face changes by at most 1.96, of 63 stretches of three seconds before a camera at rest by
# 4.1 at least; those whose surroundings change little have 2.5 times that at least, stills with more than 1.7 at most
# 1.3.
_LEAST, _OF_AROUND = 2.8, 1.8
_ROUNDS = 3


def is_face_changing(glances: Sequence[Glance], box: Box) -> bool:
    """Whether the face changes by more than what is around it.

    Args:
        glances: of a picture that does not move.
        box: where the face is, in pixels of the whole frame.
    """
    blurred = [cv2.GaussianBlur(glance.luma.astype(np.float32), (0, 0), _BLUR_PX) for glance in glances]
    luma = np.asarray(np.stack(blurred), np.float32)
    factor = luma.shape[2] / glances[0].size[0]
    x1, y1, x2, y2 = (max(round(side * factor), 0) for side in (box.x1, box.y1, box.x2, box.y2))
    face = np.zeros(luma.shape[1:], bool)
    face[y1:y2, x1:x2] = True
    around = np.ones_like(face)
    around[max(y1 - _AWAY_PX, 0) : y2 + _AWAY_PX, max(x1 - _AWAY_PX, 0) : x2 + _AWAY_PX] = False
    if not face.any():
        return False
    if around.sum() < _LEAST_AROUND:
        around = ~face
    changes = np.abs(luma - _mean_of_alike(luma))
    of_face, of_around = (
        float(np.percentile(np.percentile(changes[:, place], _PIXELS, axis=1), _GLANCES)) if place.any() else 0.0
        for place in (face, around)
    )
    return of_face > max(_LEAST, _OF_AROUND * of_around)


def _mean_of_alike(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each of (T, h, w) the mean of those that resemble it, of two kinds at most."""
    rows = pictures.reshape(len(pictures), -1)
    one = rows[0]
    other = rows[((rows - one) ** 2).mean(1).argmax()]
    for _ in range(_ROUNDS):
        is_other = ((rows - other) ** 2).mean(1) < ((rows - one) ** 2).mean(1)
        if is_other.all() or not is_other.any():
            return np.broadcast_to(pictures.mean(0, dtype=np.float32), pictures.shape)
        one, other = rows[~is_other].mean(0, dtype=np.float32), rows[is_other].mean(0, dtype=np.float32)
    means: NDArray[np.float32] = np.where(is_other[:, None], other, one)
    return means.reshape(pictures.shape)
