"""Decodes an uploaded image."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness_core.types import Picture
from liveness_service.decoding import exif, heif, jpeg, jpeg_picture, parts, png, webp
from liveness_service.decoding.boxes import CodePoints, code_points
from liveness_service.decoding.colour import code_points_to_srgb, profile_to_srgb
from liveness_service.decoding.kinds import ACCEPTED, NO_SEQUENCES, describe, image_kind
from liveness_service.decoding.promise import NotNowError, promise
from liveness_service.decoding.rows import check_opaque, grey_to_rgb, to_rgb
from liveness_service.errors import (
    EmptyBodyError,
    OverloadedError,
    ServiceError,
    TooManyPixelsError,
    UnreadableMediaError,
    UnsupportedMediaError,
)

_BYTES_A_PIXEL = 10
"""Most memory of a pixel that Pillow decodes: 4 bytes in Pillow, 3 in the result, and 3 while it is turned."""
# EXIF orientation -> the rotation that turns the stored picture upright.
_ROTATIONS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}

Opened = Callable[[tuple[int, int], bool], int]
"""Called with width and height of the stored picture, once they are known and allowed, and with whether the decoder can
reduce the picture; gives the factor by which it does, if it can: 1, 2, 4 or 8."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is decoded."""

    max_pixels: int
    """Most pixels: width times height."""
    max_side_px: int = 30_000
    """Most pixels of the longer side; OpenCV's warps handle at most 32,767."""
    max_scans: int = 64
    """Most scans of a JPEG; `jpeg.check_work` allows fewer where the picture is large."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A picture as it is stored."""

    pixels: NDArray[np.uint8]
    """RGB, shape (H, W, 3)."""
    orientation: int = 1
    """By EXIF, 1 to 8."""
    profile: bytes | None = None
    """ICC profile by which its colours still have to be converted."""
    points: CodePoints | None = None
    """Code points of its colours; they count where there is no profile."""


def decode_image(content: bytes, limits: ImageLimits, *, opened: Opened = lambda _size, _reducible: 1) -> Picture:
    """Decode JPEG, PNG, WebP, HEIC, AVIF or BMP to an upright RGB picture with the colours of sRGB, shape (H, W, 3).

    The kind of file is told from the content. Of a motion photo or an MPO the first picture is taken. The picture is
    turned as browsers turn it: by its EXIF orientation, or by the boxes of HEIC and AVIF. More than 8 bits become 8. A
    picture with transparent pixels is refused, since it shows one thing on white and another on black: a face can be
    all in the transparency of a black picture. No camera writes such pictures.

    Raises:
        EmptyBodyError: there is no content.
        UnsupportedMediaError: the content is not an image of these kinds, or an animation.
        TransparentImageError: at least one pixel is not opaque, or one colour is declared transparent.
        TooManyPixelsError: by its header the image is larger than the limits.
        TooManyScansError: a JPEG whose scans would take too long to decode.
        TooManyPartsError: the file has too many segments, chunks or boxes.
        UnreadableMediaError: the image is truncated or damaged.
        OverloadedError: there is not enough memory to decode it.
        NotNowError: see `promise`.
    """
    if not content:
        raise EmptyBodyError("the image has 0 bytes: check that the file was read before it was sent")
    kind = image_kind(content)
    if kind is None:
        raise UnsupportedMediaError(
            f"the content is {describe(content)}; accepted are {ACCEPTED}, told from the content"
        )
    # On damaged files the readers raise exceptions of many types, from SyntaxError to struct.error.
    try:
        picture, orientation = _in_srgb(_READERS[kind](content, limits, opened))
        return _upright(picture, orientation)
    except (ServiceError, NotNowError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
            raise OverloadedError(
                "there is not enough memory for this image now: try again, or send a smaller one"
            ) from error
        raise UnreadableMediaError(
            f"this {kind} image is truncated or damaged ({error}): check that it was sent whole and opens in a viewer"
        ) from error


def _in_srgb(stored: _Stored) -> tuple[Picture, int]:
    """The picture with the colours of sRGB, and its orientation. What it was made from is freed at the end."""
    picture = profile_to_srgb(stored.pixels, "RGB", stored.profile)
    if picture is None:
        picture = stored.pixels if stored.profile else code_points_to_srgb(stored.pixels, stored.points)
    return picture, stored.orientation


def _read_jpeg(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    scans = jpeg.count_parts(content, limits.max_scans).scans
    header, size = jpeg_picture.read_header(content), jpeg_picture.read_size(content)
    _check_size(size, limits)
    jpeg.check_work(scans, size, limits.max_pixels)
    factor = opened(size, True)
    promise(jpeg_picture.memory_bytes(header, scans, size, factor))
    return _Stored(jpeg_picture.decode(content, header, size, factor), exif.orientation(header.exif))


def _read_png(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    parts.check_chunks(content)
    found = png.read_parts(content)
    if found.is_animated:
        raise _sequence("an animated PNG")
    with Image.open(io.BytesIO(found.picture), formats=("PNG",)) as image:
        _check_size(image.size, limits)
        opened(image.size, False)
        promise(_BYTES_A_PIXEL * image.width * image.height)
        mode, pixels = image.mode, to_rgb(image, found.significant_bits)
        image.close()  # frees Pillow's copy of the picture
    if found.depth == 16 and mode == "RGB":
        png.scale_few_bits(found.picture, pixels)
    grey = profile_to_srgb(pixels[..., 0], "L", found.profile) if mode in ("L", "I;16", "I", "1") else None
    return _Stored(pixels if grey is None else grey, exif.orientation(found.exif), found.profile or None, found.points)


def _read_webp(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    if (canvas := webp.canvas_size(content)) is not None:
        _check_size(canvas, limits)
        promise(webp.BYTES_A_PIXEL * canvas[0] * canvas[1])  # Pillow takes a part of it to open the file
    with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
        _check_size(image.size, limits)
        if getattr(image, "is_animated", False):
            raise _sequence("an animated WebP")
        opened(image.size, False)
        pixels = webp.decode_still(content, image.size)
        if pixels.shape[2] == 4:
            check_opaque(int(pixels[..., 3].min()))
        return _Stored(pixels[..., :3], _exif_orientation(image), image.info.get("icc_profile"))


def _read_bmp(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    with Image.open(io.BytesIO(content), formats=("BMP",)) as image:
        _check_size(image.size, limits)
        parts.check_runs(content, image.size)
        opened(image.size, False)
        promise(_BYTES_A_PIXEL * image.width * image.height)
        return _Stored(to_rgb(image))


def _read_heif(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    picture = heif.HeifPicture(content)
    _check_size(picture.size, limits)
    opened(picture.size, False)
    promise(picture.memory_bytes)
    pixels = picture.decode()
    channels = pixels.shape[2]
    if channels in (2, 4):
        check_opaque(int(pixels[..., -1].min()))
    if channels < 3:
        pixels = grey_to_rgb(pixels[..., 0])
    return _Stored(pixels[..., :3], 1, picture.profile, code_points(content))


def _read_avif(content: bytes, limits: ImageLimits, opened: Opened) -> _Stored:
    with heif.open_avif(content) as image:
        _check_size(image.size, limits)
        if getattr(image, "is_animated", False):
            raise _sequence("an animated AVIF")
        opened(image.size, False)
        promise(heif.AVIF_BYTES_A_PIXEL * image.width * image.height)
        return _Stored(to_rgb(image), _exif_orientation(image), image.info.get("icc_profile"), code_points(content))


_READERS: dict[str, Callable[[bytes, ImageLimits, Opened], _Stored]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WEBP": _read_webp,
    "BMP": _read_bmp,
    "HEIF": _read_heif,
    "AVIF": _read_avif,
}


def _sequence(name: str) -> UnsupportedMediaError:
    return UnsupportedMediaError(f"the content is {name}, a sequence of pictures: {NO_SEQUENCES}")


def _exif_orientation(image: Image.Image) -> int:
    data = image.info.get("exif")
    return exif.orientation(data) if isinstance(data, bytes) else 1


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side_px:
        raise TooManyPixelsError(
            f"the image is {width}x{height}; at most {limits.max_pixels:,} pixels and {limits.max_side_px:,} "
            "a side are accepted: reduce it before sending",
            limit=limits.max_pixels,
        )


def _upright(pixels: NDArray[np.uint8], orientation: int) -> Picture:
    """Turn the picture upright by its EXIF orientation, tag 0x0112 (2, 4, 5 and 7 are mirrored too)."""
    turned: Any = pixels
    if orientation in (2, 4, 5, 7):
        turned = cv2.flip(turned, 1)
        orientation = {2: 1, 4: 3, 5: 8, 7: 6}[orientation]
    if orientation in _ROTATIONS:
        turned = cv2.rotate(turned, _ROTATIONS[orientation])
    return np.ascontiguousarray(turned, dtype=np.uint8)
