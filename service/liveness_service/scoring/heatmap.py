"""Draws the class activation map as a picture that a person can read."""

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Picture

_LIVE = np.array([40, 120, 255], np.float32)  # blue
_SPOOF = np.array([255, 40, 40], np.float32)  # red
_STRENGTH = 0.6


def heatmap_png(crop: Picture, activation_hw: NDArray[np.float32]) -> bytes:
    """Colour the scored crop: blue areas speak for live, red ones for spoof; the stronger the colour, the more.

    Args:
        crop: shape (S, S, 3), RGB.
        activation_hw: shape (h, w): logit of live minus logit of spoof at every position of the last feature map.

    Returns:
        A PNG of S by S pixels.
    """
    size = crop.shape[0]
    strongest = float(np.abs(activation_hw).max()) or 1.0
    share_SS = cv2.resize(activation_hw / strongest, (size, size), interpolation=cv2.INTER_CUBIC)
    share_SS1 = np.clip(np.asarray(share_SS, np.float32), -1, 1)[..., None]
    colour_SS3 = np.where(share_SS1 >= 0, _LIVE, _SPOOF)
    weight_SS1 = _STRENGTH * np.abs(share_SS1)
    mixed = crop * (1 - weight_SS1) + colour_SS3 * weight_SS1
    done, encoded = cv2.imencode(".png", np.rint(mixed).astype(np.uint8)[..., ::-1])
    if not done:
        raise RuntimeError("OpenCV cannot write a PNG")
    return encoded.tobytes()
