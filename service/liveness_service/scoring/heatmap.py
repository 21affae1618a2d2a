"""Draws the class activation map as a picture that a person can read, in the units in which the verdict is made.

A score and its threshold are compared as log-odds. `speaking_for` gives each place of the crop its share of that
difference: the mean of all places is the log-odds of the score minus those of the threshold. So blue outweighs red
where the verdict is live, and red outweighs blue where it is spoof.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Picture

FULL_COLOUR = 6.0
"""Log-odds from which on the colour is the strongest, in every picture; between 0 and this it grows evenly."""
_LIVE = np.array([40, 120, 255], np.float32)  # blue
_SPOOF = np.array([255, 40, 40], np.float32)  # red
_STRENGTH = 0.6
_LEAST = 1e-6
"""Scores and thresholds nearer to 0 or 1 count as this far from it, since the log-odds of 0 and 1 are infinite."""


def speaking_for(
    activation_hw: NDArray[np.float32], temperature: float, score: float, threshold: float
) -> NDArray[np.float32]:
    """How much each place speaks for live (positive) or spoof (negative), in log-odds, shape (h, w).

    m = a / T − mean(a / T) + logit(score) − logit(threshold), where a is the activation map and T the temperature. The
    map differs from Grad-CAM (Selvaraju et al., 2017) of the log-odds of live, for an encoder that ends in the mean
    over places and a linear classifier, by a factor of h·w and by a constant. The constant is what has no place of its
    own: the threshold, members of a committee that have no map, their limits, and a clip's other frames. It is spread
    evenly.

    Args:
        activation_hw: logit of live minus logit of spoof at every position of the last feature map.
        temperature: of the classifier.
        score: what the threshold is compared with, in [0, 1]: the face's score, or that of its clip.
        threshold: of the operating point, in [0, 1].
    """
    share_hw = activation_hw.astype(np.float64) / temperature
    by_place_hw: NDArray[np.float64] = share_hw - share_hw.mean() + _log_odds(score) - _log_odds(threshold)
    return by_place_hw.astype(np.float32)


def heatmap_png(crop: Picture, speaking_hw: NDArray[np.float32]) -> bytes:
    """Colour the scored crop: blue places speak for live, red ones for spoof; the same colour means the same amount.

    Args:
        crop: shape (S, S, 3), RGB.
        speaking_hw: shape (h, w), in log-odds, from `speaking_for`.

    Returns:
        A PNG of S by S pixels.
    """
    size = crop.shape[0]
    share_SS = cv2.resize(speaking_hw / FULL_COLOUR, (size, size), interpolation=cv2.INTER_CUBIC)
    share_SS1 = np.clip(np.asarray(share_SS, np.float32), -1, 1)[..., None]
    colour_SS3 = np.where(share_SS1 >= 0, _LIVE, _SPOOF)
    weight_SS1 = _STRENGTH * np.abs(share_SS1)
    mixed = crop * (1 - weight_SS1) + colour_SS3 * weight_SS1
    done, encoded = cv2.imencode(".png", np.rint(mixed).astype(np.uint8)[..., ::-1])
    if not done:
        raise RuntimeError("OpenCV cannot write a PNG")
    return encoded.tobytes()


def _log_odds(probability: float) -> float:
    p = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(p / (1 - p))
