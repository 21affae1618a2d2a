"""Decodes a large image at a half, a quarter or an eighth of its size: what is searched and cropped needs no more.

A JPEG's decoder skips the work for the pixels that are left out. Of the other kinds the whole picture is decoded, and
areas of as many pixels are averaged, so that the same picture is judged alike in every kind of file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from liveness_core.types import Picture
from liveness_service.decoding.image import ImageLimits, decode_image

FACTORS: Final = (8, 4, 2, 1)
"""By how much an image can be reduced; libjpeg knows these."""

Choice = Callable[[tuple[int, int]], int]
"""Chooses one of `FACTORS` for the width and height of the stored picture."""


@dataclass(frozen=True, slots=True)
class ScaledImage:
    """An upright picture, reduced."""

    picture: Picture
    """Its pixels; a few at the right and lower edge may be missing."""
    factor: int
    """By how much it is reduced: a point (x, y) of it is (factor * x, factor * y) in the whole picture."""
    width: int
    """Width of the whole upright picture in pixels."""
    height: int
    """Height of the whole upright picture in pixels."""


class ScaledDecoder:
    """Decodes one file, at one factor or at several."""

    def __init__(self, content: bytes, limits: ImageLimits) -> None:
        self._content = content
        self._limits = limits
        self._whole: Picture | None = None
        """All pixels, if they had to be decoded."""

    def decoded(self, choose: Choice) -> ScaledImage:
        """The picture, reduced as `choose` says.

        Raises:
            ServiceError: see `decode_image`.
        """
        if self._whole is not None:
            height, width = self._whole.shape[:2]
            factor = choose((width, height))
            return ScaledImage(_averaged(self._whole, factor), factor, width, height)
        asked = _Draft(choose)
        picture = decode_image(self._content, self._limits, opened=asked)
        height, width = picture.shape[:2]
        if not asked.reduced:
            self._whole = picture
            return ScaledImage(_averaged(picture, asked.factor), asked.factor, width, height)
        # The stored picture may lie on its side. Where it is square but for a few pixels, they may be swapped.
        stored = asked.size if (width >= height) == (asked.size[0] >= asked.size[1]) else asked.size[::-1]
        return ScaledImage(picture, asked.factor, *stored)


class _Draft:
    """Asks the decoder of a JPEG for fewer pixels, once the size of the picture is known and allowed."""

    def __init__(self, choose: Choice) -> None:
        self._choose = choose
        self.size = (0, 0)
        self.factor = 1
        self.reduced = False

    def __call__(self, size: tuple[int, int], is_reducible: bool) -> int:
        self.size = size
        self.factor = self._choose(size)
        self.reduced = is_reducible and self.factor > 1
        return self.factor if is_reducible else 1


def _averaged(picture: Picture, factor: int) -> Picture:
    """The means of squares of `factor` times `factor` pixels. What fills no whole square at the edges is left out."""
    if factor == 1:
        return picture
    height, width = (side // factor for side in picture.shape[:2])
    whole = picture[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
