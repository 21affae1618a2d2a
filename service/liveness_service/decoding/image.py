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
from liveness_service.decoding import jpeg, parts, webp
from liveness_service.decoding.kinds import describe, image_kind
from liveness_service.decoding.promise import NotNowError, promise
from liveness_service.errors import (
    EmptyBodyError,
    OverloadedError,
    ServiceError,
    TooManyPixelsError,
    TransparentImageError,
    UnreadableMediaError,
    UnsupportedMediaError,
)

_STRIP = 256  # rows that are converted at once
_BYTES_A_PIXEL = 10
"""Most memory of a pixel that Pillow decodes: 4 bytes in Pillow, 3 in the result, and 3 while it is turned."""
_BYTES_A_COEFFICIENT = 9
"""Most memory that libjpeg holds for a pixel until the last of several scans has come: four colours of two bytes."""
_WHOLE = 1 << 20  # pixels up to which a picture is one strip: each strip is copied out of the picture first
_ORIENTATION_TAG = 0x0112
# EXIF orientation -> the rotation that turns the stored picture upright.
_ROTATIONS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is decoded."""

    max_pixels: int
    """Most pixels: width times height."""
    max_side_px: int = 30_000
    """Most pixels of the longer side; OpenCV's warps handle at most 32,767."""
    max_scans: int = 64
    """Most scans of a JPEG; `jpeg.check_work` allows fewer where the picture is large."""


def decode_image(
    content: bytes, limits: ImageLimits, *, opened: Callable[[Image.Image], None] = lambda _: None
) -> Picture:
    """Decode JPEG, PNG, WebP or BMP to an upright RGB picture, shape (H, W, 3).

    The kind of file is told from the content. The first frame of an animation is taken, 16 bits become 8, and the EXIF
    orientation is applied. A picture with transparent pixels is refused, since it shows one thing on white and another
    on black: a face can be all in the transparency of a black picture. No camera writes such pictures.

    `opened` is called with the image once its header is read and allowed, before its pixels are decoded.

    Raises:
        EmptyBodyError: there is no content.
        UnsupportedMediaError: the content is not an image of these kinds.
        TransparentImageError: at least one pixel is not opaque, or one colour is declared transparent.
        TooManyPixelsError: by its header the image is larger than the limits.
        TooManyScansError: a JPEG whose scans would take too long to decode.
        TooManyPartsError: the file has too many segments or chunks.
        UnreadableMediaError: the image is truncated or damaged.
        OverloadedError: there is not enough memory to decode it.
        NotNowError: see `promise`.
    """
    if not content:
        raise EmptyBodyError("the image has 0 bytes: check that the file was read before it was sent")
    kind = image_kind(content)
    if kind is None:
        raise UnsupportedMediaError(
            f"the content is {describe(content)}; accepted are JPEG, PNG, WebP and BMP, told from the content"
        )
    # On damaged files Pillow's readers raise exceptions of many types, from SyntaxError to struct.error.
    try:
        pixels, orientation = _decoded(content, kind, limits, opened)
    except (ServiceError, NotNowError):
        raise
    except MemoryError as error:
        raise OverloadedError(
            "there is not enough memory for this image now: try again, or send a smaller one"
        ) from error
    except Exception as error:
        raise UnreadableMediaError(
            f"this {kind} image is truncated or damaged ({error}): check that it was sent whole and opens in a viewer"
        ) from error
    return _upright(pixels, orientation)


def _decoded(
    content: bytes, kind: str, limits: ImageLimits, opened: Callable[[Image.Image], None]
) -> tuple[NDArray[np.uint8], int]:
    """The stored picture in RGB and its EXIF orientation. Pillow's copy of the picture is freed at the end."""
    scans = 0
    if kind == "JPEG":
        scans = jpeg.count_parts(content, limits.max_scans).scans
    elif kind == "PNG":
        parts.check_chunks(content)
    elif kind == "WEBP" and (canvas := webp.canvas_size(content)) is not None:
        _check_size(canvas, limits)
        promise(webp.BYTES_A_PIXEL * canvas[0] * canvas[1])  # Pillow takes a part of it to open the file
    with Image.open(io.BytesIO(content), formats=(kind,)) as image:
        _check_size(image.size, limits)
        jpeg.check_work(scans, image.size, limits.max_pixels)
        if kind == "BMP":
            parts.check_runs(content, image.size)
        stored = image.width * image.height
        orientation = _orientation(image)
        opened(image)
        if kind != "WEBP":
            in_scans = _BYTES_A_COEFFICIENT * stored if scans > 1 or "progressive" in image.info else 0
            decoded = image.width * image.height  # fewer, where `opened` asked the decoder to reduce it
            promise(max(_BYTES_A_PIXEL * decoded, in_scans + 5 * decoded))
            return _to_rgb(image), orientation
        if getattr(image, "is_animated", False):
            webp.check_canvas(image.size, limits.max_pixels)
            return _to_rgb(image), orientation
        still = webp.decode_still(content, image.size)
        if still.shape[2] == 4:
            _check_opaque(int(still[..., 3].min()))
        return still[..., :3], orientation


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side_px:
        raise TooManyPixelsError(
            f"the image is {width}x{height}; at most {limits.max_pixels:,} pixels and {limits.max_side_px:,} "
            "a side are accepted: reduce it before sending",
            limit=limits.max_pixels,
        )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 (the EXIF data is damaged; the picture itself may be sound)
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert strip by strip: converting the whole picture at once would hold it in memory three more times."""
    if image.mode != "P" and "transparency" in image.info:
        _check_opaque(0)  # Pillow does not always find the pixels of that colour, as with 4 or 16 bits
    width, height = image.size
    if width * height <= _WHOLE:
        return _strip_to_rgb(image).copy()  # the copy can be written to
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        pixels[top:bottom] = _strip_to_rgb(image.crop((0, top, width, bottom)))
    return pixels


def _strip_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.asarray(image)  # `convert` would copy it once more
    if image.mode.startswith("I;16"):
        return _grey_to_rgb(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return _grey_to_rgb(np.clip(np.asarray(image), 0, 65535).astype(np.uint32) >> 8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        _check_opaque(int(np.asarray(image.getchannel("A")).min()))
    return np.asarray(image.convert("RGB"))


def _check_opaque(least_alpha: int) -> None:
    """Refuse a picture whose least opaque pixel has this alpha, 0 to 255.

    Raises:
        TransparentImageError: it is less than 255.
    """
    if least_alpha < 255:
        raise TransparentImageError(
            "the image has transparent pixels, so what it shows depends on what lies behind it: send the camera's own "
            "file, or save it without transparency"
        )


def _grey_to_rgb(grey: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> Picture:
    """Turn the picture upright by its EXIF orientation, tag 0x0112 (2, 4, 5 and 7 are mirrored too)."""
    turned: Any = pixels
    if orientation in (2, 4, 5, 7):
        turned = cv2.flip(turned, 1)
        orientation = {2: 1, 4: 3, 5: 8, 7: 6}[orientation]
    if orientation in _ROTATIONS:
        turned = cv2.rotate(turned, _ROTATIONS[orientation])
    return np.ascontiguousarray(turned, dtype=np.uint8)
