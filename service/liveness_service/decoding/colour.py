"""Turns the colours of a picture into sRGB, in which the models have learned: phones store wider colour spaces.

A number means another colour in Display P3 or Adobe RGB than in sRGB; read as sRGB, skin looks paler than it is.
"""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from liveness_core.types import Picture
from liveness_core.video.hdr import HDR_TRANSFERS, tone_mapped
from liveness_service.decoding.boxes import CodePoints
from liveness_service.decoding.rows import strips

MAX_PROFILE_BYTES = 4 << 20
"""Largest colour profile that is used; larger ones are ignored. Those of cameras have 500 bytes, of printers 2 MB."""
_STRIP_PIXELS = 1 << 17  # that are converted at once: each takes up to 80 bytes meanwhile
_SAME = 3  # grey levels: a profile that changes no colour by more is sRGB under another name
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
# Linear colours of a wider space in those of sRGB, by H.273's number: BT.2020 (ITU-R BT.2087), Display P3.
_TO_SRGB = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}


def profile_to_srgb(pixels: NDArray[np.uint8], mode: str, profile: bytes | None) -> Picture | None:
    """The picture in sRGB by its ICC profile.

    Args:
        pixels: shape (H, W, 3) for RGB, (H, W, 4) for CMYK, (H, W) for grey.
        mode: Pillow's name for what the pixels are: RGB, L or CMYK.
        profile: the ICC profile; None if there is none.

    Returns:
        RGB, shape (H, W, 3); None where the profile is missing, damaged, sRGB itself, or for other pixels. Browsers
        ignore such profiles.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        if mode != "CMYK" and _changes_nothing(transform, mode):
            return None
        result = np.empty((*pixels.shape[:2], 3), np.uint8)
        for rows in strips(pixels.shape[0], pixels.shape[1], _STRIP_PIXELS):
            strip = Image.fromarray(np.ascontiguousarray(pixels[rows]), mode)
            result[rows] = np.asarray(ImageCms.applyTransform(strip, transform))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return result


def code_points_to_srgb(picture: Picture, points: CodePoints | None) -> Picture:
    """The picture, shape (H, W, 3), in sRGB by its code points; itself where they name sRGB or nothing known.

    HDR pictures are shown as a screen without HDR does.
    """
    if points is None:
        return picture
    transfer, matrix = HDR_TRANSFERS.get(points.transfer), _TO_SRGB.get(points.primaries)
    if transfer is None and matrix is None:
        return picture
    result = np.empty_like(picture)
    for rows in strips(picture.shape[0], picture.shape[1], _STRIP_PIXELS):
        strip = picture[rows]
        if transfer is not None:
            result[rows] = tone_mapped(strip.astype(np.uint16) * 257, transfer)
        elif matrix is not None:
            linear = np.clip(_linear()[strip] @ matrix.T, 0, 1)
            result[rows] = _stored()[(linear * 4095 + 0.5).astype(np.uint16)]
    return result


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        shown = np.repeat(steps[None, :, None], 3, axis=2)
        given = Image.fromarray(steps[None])
    else:
        shown = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
        given = Image.fromarray(shown)
    changed = np.asarray(ImageCms.applyTransform(given, transform)).astype(int)
    return int(np.abs(changed - shown).max()) <= _SAME


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _linear() -> NDArray[np.float32]:
    """Light for each stored value of sRGB."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _stored() -> NDArray[np.uint8]:
    """The stored value for each of 4,096 steps of light."""
    light = np.arange(4096) / 4095
    stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * stored).astype(np.uint8)
