"""Decodes JPEG, and refuses what its decoder complains of: a picture whose bytes got lost may show half a face.

libjpeg fills what is missing with grey or black and only warns. Pillow and OpenCV keep the warnings to themselves.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from liveness_core.types import Picture
from liveness_service.decoding.colour import MAX_PROFILE_BYTES, profile_to_srgb
from liveness_service.decoding.jpeg import MAX_SEGMENTS, next_marker
from liveness_service.decoding.rows import strips

_SOF: Final = frozenset([*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)])
_SOS: Final = 0xDA
_PROGRESSIVE: Final = frozenset([0xC2, 0xC6, 0xCA, 0xCE])
_BARE: Final = frozenset([0x01, *range(0xD0, 0xDA)])
_BYTES_A_PIXEL = 10
"""Most memory of a pixel that is decoded: 4 bytes with four colours, 3 in the colours of sRGB, and 6 for turning it."""
_BYTES_A_COEFFICIENT = 9
"""Most memory that libjpeg holds for a pixel until the last of several scans has come: four colours of two bytes."""
_ABOUT_METADATA = re.compile("JFIF revision|Adobe color transform|ICC marker")
"""Warnings that say nothing about the picture: libjpeg reads it as browsers do."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says of its picture in front of it."""

    components: int
    """1 for grey, 3 for colour, 4 for CMYK."""
    is_progressive: bool
    """Whether the decoder holds all of the picture's coefficients, even where there is but one scan."""
    exif: bytes
    """Empty if there is none."""
    profile: bytes
    """The ICC profile; empty if there is none, or not all of it."""


def read_header(content: bytes) -> JpegHeader:
    """Read the segments in front of the picture. Damaged ones are passed over, as browsers do."""
    components, is_progressive, exif, pieces = 3, False, b"", {}
    for code, start, end in _segments(content):
        body = content[start : min(end, start + 20)]
        if code in _SOF and len(body) > 5:
            components, is_progressive = body[5], is_progressive or code in _PROGRESSIVE
        elif code == 0xE1 and body.startswith(b"Exif\0\0") and not exif:
            exif = content[start + 6 : end]
        elif code == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            pieces[body[12]] = (body[13], content[start + 14 : end])
    counts = {count for count, _ in pieces.values()}
    is_whole = len(counts) == 1 and counts == {len(pieces)} and sorted(pieces) == list(range(1, len(pieces) + 1))
    profile = b"".join(pieces[number][1] for number in sorted(pieces)) if is_whole else b""
    return JpegHeader(components, is_progressive, exif, profile if len(profile) <= MAX_PROFILE_BYTES else b"")


def read_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, as the decoder sees them.

    Raises:
        ValueError: it is no JPEG that can be decoded.
    """
    height, width, *_ = simplejpeg.decode_jpeg_header(content, strict=False)
    return width, height


def memory_bytes(header: JpegHeader, scans: int, size: tuple[int, int], factor: int) -> int:
    """What `decode` takes at most, and the conversion and turning of the picture after it, in bytes.

    Args:
        header: what was read from the file.
        scans: its scans.
        size: its width and height in pixels.
        factor: by how much the picture is reduced.
    """
    stored, decoded = size[0] * size[1], -(-size[0] // factor) * -(-size[1] // factor)
    in_scans = _BYTES_A_COEFFICIENT * stored if scans > 1 or header.is_progressive else 0
    return max(_BYTES_A_PIXEL * decoded, in_scans + 5 * decoded)


def decode(content: bytes, header: JpegHeader, size: tuple[int, int], factor: int) -> Picture:
    """Decode a JPEG to RGB of sRGB, not turned by its orientation.

    Args:
        content: the bytes of the file; what follows the picture, as in motion photos and MPO, is left alone.
        header: what was read from it.
        size: its width and height in pixels.
        factor: 1, 2, 4 or 8: by how much the picture is reduced; sides are rounded up.

    Raises:
        ValueError: the decoder warns, so the picture is damaged.
        MemoryError: there is not enough memory.
    """
    width, height = (-(-side // factor) for side in size)
    space = "CMYK" if header.components == 4 else "GRAY" if header.components == 1 else "RGB"
    try:
        pixels = _decode(content, space, width, height)
    except ValueError as error:
        if "nsufficient memory" in str(error):
            raise MemoryError(str(error)) from error
        if not _ABOUT_METADATA.search(str(error)):
            raise
        pixels = _decode(_with_plain_metadata(content), space, width, height)
    if space == "CMYK":
        # Adobe's encoders, and all that followed them, store the inverse.
        np.subtract(255, pixels, out=pixels)
        converted = profile_to_srgb(pixels, "CMYK", header.profile)
        return _cmyk_to_rgb(pixels) if converted is None else converted
    if space == "GRAY":
        converted = profile_to_srgb(pixels[..., 0], "L", header.profile)
        return np.repeat(pixels, 3, axis=2) if converted is None else converted
    converted = profile_to_srgb(pixels, "RGB", header.profile)
    return pixels if converted is None else converted


def _decode(content: bytes, space: str, width: int, height: int) -> NDArray[np.uint8]:
    pixels = simplejpeg.decode_jpeg(content, space, min_width=width, min_height=height, strict=True)
    if pixels.shape[:2] != (height, width):
        raise ValueError("its picture is not what its header says")
    return np.asarray(pixels, np.uint8)


def _with_plain_metadata(content: bytes) -> bytes:
    """The same picture with a revision of JFIF and a colour transform that the decoder knows, and without profile."""
    changed = bytearray(content)
    components = read_header(content).components
    for code, start, end in _segments(content):
        if code == 0xE0 and content[start : start + 5] == b"JFIF\0" and end - start > 6:
            changed[start + 5] = 1
        elif code == 0xEE and content[start : start + 5] == b"Adobe" and end - start > 11 and content[start + 11] > 2:
            changed[start + 11] = 2 if components == 4 else 1
        elif code == 0xE2 and content[start : start + 4] == b"ICC_":
            changed[start] = 0  # a profile that is not whole; a whole one has been read
    return bytes(changed)


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of the content of each segment in front of the first scan."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        marker = next_marker(content, at)
        if marker + 4 > len(content):
            return
        code, at = content[marker + 1], marker + 2
        if code == _SOS:
            return
        if code not in _BARE:
            (length,) = struct.unpack_from(">H", content, at)
            yield code, at + 2, at + max(length, 2)
            at += max(length, 2)


def _cmyk_to_rgb(pixels: NDArray[np.uint8]) -> Picture:
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    for rows in strips(*pixels.shape[:2]):
        strip = Image.fromarray(pixels[rows], "CMYK")
        result[rows] = np.asarray(strip.convert("RGB"))
    return result
