"""Reads the chunks of a PNG that decide what it shows, and leaves out all others before Pillow reads it.

Pillow refuses a file for a long text, a large profile or a wrong checksum of what is no picture; browsers show it.
"""

import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_service.decoding.boxes import CodePoints
from liveness_service.decoding.colour import MAX_PROFILE_BYTES
from liveness_service.decoding.promise import promise
from liveness_service.decoding.rows import bits_in_use, strips

_SIGNATURE_BYTES = 8
_DEEP_BYTES_A_PIXEL = 16
"""Most memory of a pixel that OpenCV decodes with 16 bits: 6 bytes twice, beside the 3 of the result."""
_SMALL_BYTES = 1 << 20
_METADATA = {b"eXIf": _SMALL_BYTES, b"iCCP": MAX_PROFILE_BYTES, b"sBIT": _SMALL_BYTES, b"cICP": _SMALL_BYTES}
"""Chunks beside the picture that are looked at, and how long they may be."""


@dataclass(frozen=True, slots=True)
class PngParts:
    """What a PNG file is made of."""

    picture: bytes
    """The file with the chunks of its picture alone."""
    is_animated: bool
    """Whether it shows more than the one picture that is decoded."""
    depth: int
    """Bits of each value."""
    significant_bits: int | None
    """How many of them are in use, where the file says so."""
    exif: bytes
    profile: bytes
    """The ICC profile; empty if there is none, or one that is too large."""
    points: CodePoints | None
    """How its numbers stand for colours; they come before the profile."""


def read_parts(content: bytes) -> PngParts:
    """Read the chunks of a PNG, whose number was checked before."""
    kept = [content[:_SIGNATURE_BYTES]]
    found: dict[bytes, bytes] = {}
    frames, is_first_drawn, has_data = 0, False, False
    at = _SIGNATURE_BYTES
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        is_whole = end <= len(content)
        if name == b"IDAT":
            has_data = True
        if _is_critical(name) or (name == b"tRNS" and is_whole and _is_sound(content, at, end)):
            kept.append(content[at:end])
        elif is_whole and name == b"acTL" and not has_data and length == 8:
            frames = int.from_bytes(content[at + 8 : at + 12], "big")
        elif name == b"fcTL" and not has_data:
            is_first_drawn = True
        elif is_whole and name not in found and length <= _METADATA.get(name, -1) and _is_sound(content, at, end):
            found[name] = content[at + 8 : end - 4]
        at = end
        if name == b"IEND":
            break
    kept.append(content[at:])  # what is cut off in the middle of a chunk
    points = found.get(b"cICP", b"")
    bits = found.get(b"sBIT", b"")
    return PngParts(
        picture=b"".join(kept),
        is_animated=frames > 1 or (frames == 1 and not is_first_drawn),
        depth=content[24] if len(content) > 24 else 8,
        significant_bits=max(bits[:3]) if bits else None,
        exif=found.get(b"eXIf", b""),
        profile=_inflated(found.get(b"iCCP", b"")),
        points=CodePoints(points[0], points[1]) if len(points) == 4 else None,
    )


def _is_critical(name: bytes) -> bool:
    return not name[0] & 0x20


def _is_sound(content: bytes, at: int, end: int) -> bool:
    return zlib.crc32(content[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")


def _inflated(chunk: bytes) -> bytes:
    """The profile in a chunk `iCCP`: a name, a zero, the method, and the compressed profile."""
    name, _, rest = chunk.partition(b"\0")
    if not name or len(rest) < 2:
        return b""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""


def scale_few_bits(picture: bytes, pixels: NDArray[np.uint8]) -> None:
    """Scale a colour PNG of 16 bits that uses the lower ones alone, in place; leave it alone where it uses them all.

    Args:
        picture: the file.
        pixels: what Pillow made of it: the upper 8 of the 16 bits, shape (H, W, 3).
    """
    if int(pixels.max(initial=0)) >= 1 << 6:  # more than 14 bits
        return
    promise(_DEEP_BYTES_A_PIXEL * pixels.shape[0] * pixels.shape[1])
    deep = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if deep is None or deep.dtype != np.uint16 or deep.shape != pixels.shape:
        return
    unused = bits_in_use(int(deep.max(initial=0))) - 8
    for rows in strips(*pixels.shape[:2]):
        pixels[rows] = (np.asarray(deep[rows], np.uint16) >> unused)[..., ::-1]
