"""Small pictures, and their decoding as the service does it."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.errors import (
    ServiceError,
)
from support.pictures import astronaut

LIMITS = ImageLimits(max_pixels=50_000_000)
KINDS = ["JPEG", "PNG", "WEBP", "BMP"]
# An upright, unsymmetrical piece of a real photo, small enough to be decoded thousands of times.
PIECE = np.ascontiguousarray(astronaut()[60:124, 180:276])
RED, BLUE = (np.full((20, 30, 3), colour, np.uint8) for colour in ((200, 10, 10), (10, 10, 200)))


def decode(content, limits=LIMITS):
    return decode_image(content, limits)


def decoded_or_refused(content):
    """The picture, or None after an error of ours: whatever else is raised fails the test."""
    try:
        picture = decode(content, ImageLimits(max_pixels=100_000))
    except ServiceError:
        return None
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    assert picture.shape[0] * picture.shape[1] <= 100_000
    return picture


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png(width, height, rows=b"", *, colour=2, depth=8):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
