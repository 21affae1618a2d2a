"""Refuses PNG and BMP files that are cheap to send and costly to read, before Pillow reads them."""

import struct
from typing import Final

from liveness_service.errors import TooManyPartsError, TooManyPixelsError

MAX_CHUNKS: Final = 32_768
"""Most chunks. Encoders write the picture in chunks of 8 kB or more, of which 20 MiB hold 2,560. Pillow reads chunks in
Python: 1.6 million empty ones took 8 s and 180 MB."""

MAX_RUN_LENGTH_PIXELS: Final = 1_000_000
"""Most pixels of a BMP with run-length compression, and most bytes of its file. Pillow reads these runs in Python, with
a loop for each pixel that a line leaves out; 10 million runs would take 10 s. No camera writes such files."""


def check_chunks(content: bytes) -> None:
    """Refuse a PNG of too many chunks.

    Raises:
        TooManyPartsError: there are more than `MAX_CHUNKS`.
    """
    at, chunks = 8, 0
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise TooManyPartsError(
                f"the PNG image has more than {MAX_CHUNKS:,} chunks: save it again with an ordinary encoder",
                limit=MAX_CHUNKS,
            )
        if name == b"IEND":
            return
        at += 12 + length


def check_runs(content: bytes, size: tuple[int, int]) -> None:
    """Refuse a large BMP with run-length compression.

    Args:
        content: the bytes of the file.
        size: width and height in pixels.

    Raises:
        TooManyPixelsError: it is compressed so, and has more than `MAX_RUN_LENGTH_PIXELS` pixels or bytes.
    """
    header_bytes, compression = int.from_bytes(content[14:18], "little"), int.from_bytes(content[30:34], "little")
    is_compressed = header_bytes >= 40 and compression in (1, 2)  # BI_RLE8, BI_RLE4
    if is_compressed and max(size[0] * size[1], len(content)) > MAX_RUN_LENGTH_PIXELS:
        raise TooManyPixelsError(
            f"a BMP image with run-length compression may have {MAX_RUN_LENGTH_PIXELS:,} pixels and as many bytes: "
            "send a JPEG or PNG",
            limit=MAX_RUN_LENGTH_PIXELS,
        )
