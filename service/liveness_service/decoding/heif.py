"""Decodes HEIF with HEVC, as iPhones and many Android phones take it, and AVIF."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from liveness_service.errors import TooManyPartsError, UnsupportedMediaError

AVIF_BYTES_A_PIXEL = 25
"""Most memory of a pixel of an AVIF, with three full planes of more than 8 bits and film grain: 12 in dav1d, 3 to 4 in
Pillow's decoder, 4 in Pillow, 3 in the result. 8 bits of ordinary colour take 11."""
# The same for HEIF: by whether there are more than 8 bits, and whether there is transparency. libde265's planes, what
# libheif makes of them, and the result, which it has turned already.
_HEIF_BYTES_A_PIXEL = {(False, False): 10, (False, True): 13, (True, False): 16, (True, True): 21}


class HeifPicture:
    """The main picture of a HEIF file, turned upright by the file's own boxes. EXIF does not count, as in browsers."""

    def __init__(self, content: bytes) -> None:
        """Read the header; no pixel is decoded.

        Raises:
            UnsupportedMediaError: it is coded by something else than HEVC.
            TooManyPartsError: it is beyond a limit of libheif.
            ValueError, OSError and others: it is damaged.
        """
        with _told_apart():
            file = pillow_heif.open_heif(content, convert_hdr_to_8bit=True)
            self._picture = file[file.primary_index]
        self.size: tuple[int, int] = self._picture.size
        profile = self._picture.info.get("icc_profile")
        self.profile: bytes | None = profile if isinstance(profile, bytes) else None
        is_deep, has_alpha = self._picture.info.get("bit_depth") != 8, "A" in self._picture.mode
        self.memory_bytes: int = _HEIF_BYTES_A_PIXEL[is_deep, has_alpha] * self.size[0] * self.size[1]
        """What its decoding takes at most."""

    def decode(self) -> NDArray[np.uint8]:
        """The pixels, shape (H, W, C) with 1 to 4 channels: grey or RGB, and alpha where there is transparency.

        Raises:
            As above.
        """
        with _told_apart():
            pixels = np.asarray(self._picture)
        if self._picture.size != self.size:
            raise ValueError("its picture is not what its header says")
        if pixels.dtype != np.uint8:  # grey of 10 or 12 bits
            pixels = (pixels >> 8).astype(np.uint8)
        return pixels[..., None] if pixels.ndim == 2 else pixels


def open_avif(content: bytes) -> Image.Image:
    """Open an AVIF without decoding it. Its EXIF orientation is that of the file's own boxes."""
    return Image.open(io.BytesIO(_as_one_picture(content)), formats=("AVIF",))


def _as_one_picture(content: bytes) -> bytes:
    """The file with brands of one AVIF picture, which it is: Pillow and libavif go by fewer brands than are in use."""
    end = int.from_bytes(content[:4], "big")
    if content[4:8] != b"ftyp" or not 16 <= end <= len(content):
        return content
    listed = content[16:end].replace(b"avis", b"avif").replace(b"msf1", b"mif1")
    return content[:8] + b"avif" + content[12:16] + listed + content[end:]


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turn libheif's errors that are about no damage into what they are."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        text = str(error).lower()
        if "memory" in text and "alloc" in text:
            raise MemoryError(str(error)) from error
        if "security limit" in text or "exceeds limit" in text:
            raise TooManyPartsError(
                f"the HEIF image is beyond a limit of its decoder ({error}): send the camera's own file, or a JPEG"
            ) from error
        if "unsupported" in text:
            raise UnsupportedMediaError(
                f"this HEIF image is coded in a way that is not read here ({error}): send a JPEG, or HEIF with HEVC"
            ) from error
        raise
