"""Converts a picture that Pillow has decoded to RGB, a strip of rows after the other, and refuses transparency.

Converting the whole picture at once would hold it in memory three more times.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness_service.errors import TransparentImageError

_STRIP_PIXELS = 1 << 20
"""About how many pixels are converted at once. A picture that has no more is one strip, and not copied for it."""
_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that sensors have; a deep picture that uses fewer than its file could hold uses one of these."""


def to_rgb(image: Image.Image, significant_bits: int | None = None) -> NDArray[np.uint8]:
    """The pixels in RGB, shape (H, W, 3).

    Deep grey is scaled by the bits in use: sensors of 10 or 12 bits are often stored in 16 without it, and would be
    black.

    Args:
        image: an open image.
        significant_bits: bits in use where the file says it; else they are told from the largest value.

    Raises:
        TransparentImageError: at least one pixel is not opaque, or one colour is declared transparent.
    """
    if image.mode != "P" and "transparency" in image.info:
        check_opaque(0)  # Pillow does not always find the pixels of that colour, as with 4 or 16 bits
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    is_deep = image.mode.startswith("I;16") or image.mode in ("I", "F")
    bits = bits_in_use(max(_deep(strip).max() for _, strip in _cut(image)), significant_bits) if is_deep else 8
    for rows, strip in _cut(image):
        pixels[rows] = grey_to_rgb(_deep(strip) >> (bits - 8)) if is_deep else _flat_to_rgb(strip)
    return pixels


def strips(height: int, width: int, most_pixels: int = _STRIP_PIXELS) -> Iterator[slice]:
    """The rows of a picture, as many at once as have so many pixels."""
    rows = max(most_pixels // max(width, 1), 1)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def bits_in_use(largest: int, significant_bits: int | None = None) -> int:
    """How many bits of a deep picture are in use, 8 to 16.

    Args:
        largest: the largest value, 0 to 65535.
        significant_bits: what the file says; it counts where the values keep to it.
    """
    needed = int(largest).bit_length()
    if significant_bits is not None and 8 <= significant_bits <= 16 and needed <= significant_bits:
        return significant_bits
    return next(depth for depth in _DEPTHS if depth >= needed)


def check_opaque(least_alpha: int) -> None:
    """Refuse a picture whose least opaque pixel has this alpha, 0 to 255.

    Raises:
        TransparentImageError: it is less than 255.
    """
    if least_alpha < 255:
        raise TransparentImageError(
            "the image has transparent pixels, so what it shows depends on what lies behind it: send the camera's own "
            "file, or save it without transparency"
        )


def grey_to_rgb(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey, shape (H, W), as RGB, shape (H, W, 3)."""
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _cut(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    for rows in strips(image.height, image.width):
        whole = rows.stop - rows.start == image.height
        yield rows, image if whole else image.crop((0, rows.start, image.width, rows.stop))


def _deep(strip: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(np.clip(np.asarray(strip), 0, 65535), np.uint16)


def _flat_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.asarray(image)  # `convert` would copy it once more
    if image.has_transparency_data:
        image = image.convert("RGBA")
        check_opaque(int(np.asarray(image.getchannel("A")).min()))
    return np.asarray(image.convert("RGB"))
