"""What can be sent: a path, bytes, an open file, or an array of pixels."""

import os
import struct
import zlib
from typing import Any, BinaryIO, Protocol, cast


class Pixels(Protocol):
    """A NumPy array of a picture: (height, width, 3) in RGB, or (height, width) in grey; 8 bits each, uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, for colour, 3."""

    @property
    def dtype(self) -> Any:
        """Type of the values; uint8."""

    def tobytes(self) -> bytes:
        """The values, row by row."""


Media = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Pixels
"""A path, the file's bytes, a file opened for reading bytes, or pixels."""


def content_of(media: Media) -> bytes:
    """The bytes to send. A file is sent as it is; only pixels are encoded, as PNG, which loses nothing.

    Raises:
        OSError: the file cannot be read.
        TypeError: this is none of the kinds above.
        ValueError: the array is no picture.
    """
    if isinstance(media, (bytes, bytearray, memoryview)):
        return bytes(media)
    if isinstance(media, (str, os.PathLike)):
        with open(media, "rb") as file:  # noqa: PTH123  # a path in any form
            return file.read()
    if hasattr(media, "read"):
        content = cast(BinaryIO, media).read()
        if not isinstance(content, bytes):
            raise TypeError("the file is open for text: open it with mode 'rb'")
        return content
    if hasattr(media, "shape") and hasattr(media, "tobytes"):
        return png_of(media)
    raise TypeError(f"a path, bytes, an open file or an array is needed, this is a {type(media).__name__}")


def png_of(pixels: Pixels) -> bytes:
    """A PNG of these pixels; no package is needed for it.

    Raises:
        ValueError: the array is no picture of the described form.
    """
    shape = tuple(pixels.shape)
    if str(pixels.dtype) != "uint8" or len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(
            f"an array of {pixels.dtype} with shape {shape} is no picture: uint8 is needed, of (height, width, 3) in "
            "RGB, or of (height, width) in grey"
        )
    height, width = shape[:2]
    row = width * (3 if len(shape) == 3 else 1)
    content = pixels.tobytes()
    # Each row begins with the number of its filter: 0, none.
    rows = b"".join(b"\0" + content[start : start + row] for start in range(0, height * row, row))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if len(shape) == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
