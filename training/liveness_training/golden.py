"""Crops for a bundle's self-test: none from a data set, since a bundle is passed on."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from liveness_core.alignment import align
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture

# K candidates, S crop size

_WANTED = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Scores that golden cases should have: near 0 and 1 a drift of the logits would hardly show."""

Scoring = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def golden_crops(preprocess: PreprocessSpec, score: Scoring) -> NDArray[np.uint8]:
    """Shape (6, S, S, 3): the plain face, and of many changed ones those that the network is least sure of.

    Args:
        preprocess: margin and size.
        score: crops of shape (K, S, S, 3) to scores (K,), by the network that the bundle is made of.
    """
    candidates = golden_candidates(preprocess)
    scores = score(candidates)
    chosen = [0]
    for wanted in _WANTED:
        order = np.argsort(np.abs(scores - wanted), kind="stable")
        chosen.append(next(int(place) for place in order if place not in chosen))
    return candidates[chosen]


def golden_candidates(preprocess: PreprocessSpec) -> NDArray[np.uint8]:
    """Shape (K, S, S, 3): scikit-image's public-domain astronaut, first as she is, then changed as attacks do."""
    picture = data.astronaut()
    # Always this detector, with its own weights: golden crops must not depend on what a user has installed.
    face = create_detector(DetectorSpec()).detect(picture)[0]
    crops = [
        align(picture, face, margin=margin, size=preprocess.size).pixels
        for margin in (preprocess.margin, 1.2, 1.8, 3.5)
    ]
    random = np.random.default_rng(0)
    changed = [
        change(crop, strength, random)
        for crop in crops
        for change in (_on_screen, _on_paper, _noisy, _dim)
        for strength in (0.25, 0.5, 0.75, 1.0)
    ]
    return np.stack([*crops, *changed])


def _on_screen(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    """A panel's colour, and stripes as of its pixel grid."""
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]]
    stripes = 40 * np.sin(columns / 2.3 + 0.3 * np.sin(rows / 19.0)) * np.sin(rows / 2.1)
    panel = crop * np.array([0.75, 0.9, 1.1]) + stripes[..., None] + 20
    return _u8(crop + strength * (panel - crop))


def _on_paper(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    """Soft, and short of black and colour."""
    soft = cv2.GaussianBlur(crop, (0, 0), 0.5 + 3 * strength).astype(np.float64)
    grey = soft.mean(axis=2, keepdims=True)
    return _u8(60 * strength + (1 - 0.4 * strength) * (grey + (1 - 0.6 * strength) * (soft - grey)))


def _noisy(crop: Picture, strength: float, random: np.random.Generator) -> Picture:
    return _u8(crop + random.normal(0, 60 * strength, crop.shape))


def _dim(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    return _u8(crop * (1 - 0.8 * strength))


def _u8(pixels: NDArray[np.float64]) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
