"""Reads the orientation of a picture from its EXIF data, as browsers do: only from there, and only if it is sound."""

import struct

_ORIENTATION = 0x0112
_SHORT = 3
_MOST_ENTRIES = 1_000


def orientation(exif: bytes) -> int:
    """The orientation in EXIF data, 1 to 8; 1 where it has none or is damaged.

    Args:
        exif: the TIFF structure, with or without `Exif` and two zeros in front.
    """
    if exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return 1
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return 1
    (entries,) = struct.unpack_from(f"{order}H", exif, start)
    for number in range(min(entries, _MOST_ENTRIES)):
        at = start + 2 + 12 * number
        if at + 12 > len(exif):
            return 1
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, at)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else 1
    return 1
