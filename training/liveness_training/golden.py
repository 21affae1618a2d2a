"""Crops for a bundle's self-test: none from a data set, since a bundle is passed on."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from liveness_core.alignment import align
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.preprocess import PreprocessSpec


def golden_crops(preprocess: PreprocessSpec) -> NDArray[np.uint8]:
    """Shape (K, S, S, 3): scikit-image's public-domain astronaut, as she is, tight, and changed as attacks do.

    Between them their scores should lie away from 0 and 1, where a drift would not show; `export` checks that.
    """
    picture = data.astronaut()
    # Always this detector, with its own weights: golden crops must not depend on what a user has installed.
    face = create_detector(DetectorSpec()).detect(picture)[0]
    wide, tight = (
        align(picture, face, margin=margin, size=preprocess.size).pixels for margin in (preprocess.margin, 1.2)
    )
    size = preprocess.size
    rows, columns = np.mgrid[:size, :size]
    moire = 24 * np.sin(columns / 2.3 + 0.3 * np.sin(rows / 19.0)) * np.sin(rows / 2.1)
    screen = wide * np.array([0.85, 0.95, 1.1]) * 0.9 + moire[..., None] + 12
    print_ = 40 + 0.7 * cv2.GaussianBlur(wide, (0, 0), 2.0)
    noisy = wide + np.random.default_rng(0).normal(0, 18, wide.shape)
    blend = 0.5 * wide + 0.5 * np.clip(screen, 0, 255)
    crops = np.stack([wide, tight, screen, print_, noisy, blend])
    return np.clip(np.rint(crops), 0, 255).astype(np.uint8)
