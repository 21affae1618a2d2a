"""Decodes WebP with less memory than Pillow, which holds 16 bytes for each pixel."""

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP = 256  # rows whose channels are swapped at once

BYTES_A_PIXEL = 17
"""Most memory of a pixel: 8 bytes from Pillow's opening of the file on, which a still picture does not touch, and 9 to
decode it."""


def canvas_size(content: bytes) -> tuple[int, int] | None:
    """Width and height by the header, in pixels, without opening the file; None where the header is none."""
    name, header = content[12:16], content[20:30]
    if len(header) < 10:
        return None
    if name == b"VP8X":
        return 1 + int.from_bytes(header[4:7], "little"), 1 + int.from_bytes(header[7:10], "little")
    if name == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", header, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def decode_still(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a WebP that is no animation; at most 8 bytes for each pixel are held.

    Args:
        content: the bytes of the file.
        size: width and height by its header, in pixels.

    Returns:
        RGB, shape (H, W, 3), or with transparency RGBA, shape (H, W, 4); not turned by the EXIF orientation.

    Raises:
        MemoryError: there is not enough memory.
        ValueError: the picture is damaged.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError("OpenCV has not enough memory") from error
        raise ValueError("OpenCV cannot decode it") from error
    if (
        picture is None
        or picture.dtype != np.uint8
        or picture.shape[1::-1] != size
        or picture.shape[2:] not in [(3,), (4,)]
    ):
        raise ValueError("its picture is not what its header says")
    pixels = np.asarray(picture, np.uint8)
    for top in range(0, len(pixels), _STRIP):
        strip = pixels[top : top + _STRIP]
        strip[..., [0, 2]] = strip[..., [2, 0]]
    return pixels
