"""Counts what a JPEG file is made of, before it is decoded.

A decoder spends time on every scan and on every segment, however few bytes they have: a file of 100 kB can hold
thousands of scans that each touch the whole picture. The walk below finds the markers where libjpeg finds them.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from liveness_service.errors import TooManyPartsError, TooManyScansError

MAX_SEGMENTS: Final = 2_000
"""Most segments. A file of 20 MiB can hold 320 full ones, a colour profile has at most 255, and each scan may bring
tables of its own. Where Pillow reads them, in Python, five million empty ones take 12 s and 660 MB."""

MAX_PADDING_BYTES: Final = 65_536
"""Most bytes before the first scan that belong to no segment. Pillow would skip them one by one in Python."""

MAX_RECORDS: Final = 10_000
"""Most of Photoshop's records (`8BIM`), of which it writes about 30. Pillow would read them in Python: 1.7 million, as
many as 20 MB can hold, take 1.3 s."""

SCANS_OF_LARGEST: Final = 20
"""How many scans a picture of `max_pixels` may have; smaller pictures may have more, up to `max_scans`. Encoders write
1 to 18: libjpeg 10 for colour and 18 for CMYK. A scan costs up to 0.8 ms a megapixel, so that 20 scans of 50 megapixels
take 0.8 s of a core beside the decoding itself."""

_SOS, _EOI = 0xDA, 0xD9
# What follows 0xFF and is no marker that matters: a stuffed byte (00), TEM (01), RST (D0 to D7), fill (FF).
_PASSED = np.zeros(256, bool)
_PASSED[[0x00, 0x01, *range(0xD0, 0xD8), 0xFF]] = True
# Markers without a length: the ones above, start and end of image, and reserved ones, at which libjpeg gives up or
# goes on with the next byte. They are not skipped by a length that libjpeg does not read.
_BARE = frozenset([*range(0x02, 0xC0), 0xD8, 0xD9, *range(0xF0, 0xFE)])
_WINDOW_BYTES = 16_384
_LARGEST_WINDOW_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class JpegParts:
    """What a JPEG file is made of, up to its end marker."""

    scans: int
    """Number of SOS markers."""
    segments: int
    """Number of markers with what belongs to them, scans included."""


def count_parts(content: bytes, max_scans: int) -> JpegParts:
    """Count scans and segments up to the first picture's end, without decoding.

    Args:
        content: the bytes of the file.
        max_scans: most scans that are accepted.

    Raises:
        TooManyScansError: there are more scans.
        TooManyPartsError: there are too many segments or records, or too much padding before the first scan.
    """
    scans = segments = padding = 0
    at = 2
    while True:
        marker = next_marker(content, at)
        padding += 0 if scans else marker - at
        if segments > MAX_SEGMENTS or padding > MAX_PADDING_BYTES:
            raise TooManyPartsError(
                f"the JPEG image has more than {MAX_SEGMENTS:,} segments, or more than {MAX_PADDING_BYTES:,} bytes "
                "between them: save it again with an ordinary encoder",
                limit=MAX_SEGMENTS,
            )
        # Before the first scan Pillow would read on behind an end marker, though libjpeg does not.
        code = content[marker + 1] if marker + 1 < len(content) else _EOI
        if marker + 1 >= len(content) or (code == _EOI and scans):
            return JpegParts(scans, segments)
        segments += 1
        if code == _SOS and not scans:
            _check_records(content, marker)
        scans += code == _SOS
        if scans > max_scans:
            raise _too_many_scans(f"more than {max_scans} scans", max_scans)
        at = marker + 2
        if code not in _BARE and at + 2 <= len(content):
            at += max(int(struct.unpack_from(">H", content, at)[0]), 2)


def _check_records(content: bytes, end: int) -> None:
    """Refuse a file with too many records of Photoshop in front of its first scan; behind it nobody reads any."""
    if content.count(b"8BIM", 0, end) > MAX_RECORDS:
        raise TooManyPartsError(
            f"the JPEG image has more than {MAX_RECORDS:,} records of Photoshop: save it with an ordinary encoder",
            limit=MAX_RECORDS,
        )


def check_work(scans: int, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture whose scans together touch too many pixels.

    Args:
        scans: number of scans.
        size: width and height in pixels.
        max_pixels: most pixels of an accepted picture.

    Raises:
        TooManyScansError: scans times pixels are more than `SCANS_OF_LARGEST` times `max_pixels`.
    """
    allowed = SCANS_OF_LARGEST * max_pixels // max(size[0] * size[1], 1)
    if scans > allowed:
        raise _too_many_scans(
            f"{scans} scans of {size[0]}x{size[1]} pixels; at this size {allowed} are accepted", allowed
        )


def _too_many_scans(what: str, limit: int) -> TooManyScansError:
    """The error for a file that has `what`."""
    return TooManyScansError(f"the JPEG image has {what}: save it as a baseline JPEG (LIVENESS_MAX_SCANS)", limit=limit)


def next_marker(content: bytes, at: int) -> int:
    """Where the next marker's 0xFF is, at or after `at`; the file's length where there is none."""
    if content[at : at + 1] == b"\xff" and at + 1 < len(content) and not _PASSED[content[at + 1]]:
        return at
    window = _WINDOW_BYTES
    everything = np.frombuffer(content, np.uint8)
    while at + 1 < len(everything):
        # Windows overlap by a byte, so that a marker at a window's end is seen whole.
        piece = everything[at : at + window + 1]
        following = piece[1:]
        # Written out and not looked up in a table: these operations work on 32 bytes at once. With 1 added, 0xFF is 0.
        is_marker = following + np.uint8(1) > 2
        is_marker &= piece[:-1] == 0xFF
        if np.count_nonzero(is_marker):  # most files have no restart markers either
            is_marker &= (following & 0xF8) != 0xD0
        found = int(is_marker.argmax())
        if is_marker[found]:
            return at + found
        at += len(piece) - 1
        window = min(4 * window, _LARGEST_WINDOW_BYTES)
    return max(at, len(content))
