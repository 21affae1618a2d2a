"""HDR pictures as a screen without HDR shows them: the limits of quality and the models were set on such pictures."""

from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Picture

Transfer = Literal["pq", "hlg"]

HDR_TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}
"""By FFmpeg's number of the transfer function (ITU-T H.273): SMPTE ST 2084 and ARIB STD-B67."""

_WHITE_NITS = 203.0
"""A white sheet of paper (ITU-R BT.2408), which becomes the brightest white of the result."""
_HLG_NITS = 1000.0
# Colours of BT.2020 in those of BT.709, both linear (ITU-R BT.2087).
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


def tone_mapped(picture: NDArray[Any], transfer: Transfer) -> Picture:
    """Map an HDR picture with the colours of BT.2020 to 8 bits of sRGB.

    What is brighter than paper is cut off, as in an ordinary recording that is exposed for the face.

    Args:
        picture: shape (H, W, 3), RGB with 16 bits, as stored.
        transfer: how brightness is stored.
    """
    linear = _linear(transfer)[picture >> 4]
    if transfer == "hlg":
        # The display's part of the curve: a gamma of 1.2 on the luminance, for a display of 1,000 nits.
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear = linear * (np.maximum(luminance, 1e-6) ** 0.2)[..., None] * np.float32(_HLG_NITS)
    narrow = np.clip(linear @ _TO_709.T / np.float32(_WHITE_NITS), 0, 1)
    return np.asarray(_srgb()[(narrow * 4095).astype(np.uint16)], np.uint8)


@cache
def _linear(transfer: Transfer) -> NDArray[np.float32]:
    """Light for each of 4,096 stored values: nits for PQ, the scene's light in [0, 1] for HLG."""
    value = np.arange(4096) / 4095
    if transfer == "pq":
        root = value ** (1 / 78.84375)
        light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    else:
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return light.astype(np.float32)


@cache
def _srgb() -> Picture:
    """The stored value for each of 4,096 steps of light."""
    light = np.arange(4096) / 4095
    stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * stored).astype(np.uint8)
