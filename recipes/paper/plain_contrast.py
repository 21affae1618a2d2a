"""How well plain brightness and contrast of a crop tell live from attack, by domain: AUC of each as if it were a score.

    python recipes/paper/plain_contrast.py DATA --cache CACHE [--size 112]

Above 50 live pictures have more of it, below 50 attacks have. Where domains lie on both sides, a network that learns it
on some of them has learned the opposite of what is true on another (ADR 5).
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crops import prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.evaluation.metrics import Scored, auc


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--size", type=int, default=112)
    options = parser.parse_args()
    crops = prepare_all(
        [parse_source(text) for text in options.data],
        options.cache,
        preprocess=PreprocessSpec(size=options.size, margin=2.7),
        detector=DetectorSpec(),
        views=1,
        workers=1,
    )
    grey = [
        cv2.cvtColor(np.asarray(crops.crops_MVSS3[row, 0]), cv2.COLOR_RGB2GRAY) for row in range(len(crops.samples))
    ]
    cues = {
        "brightness": np.array([picture.mean() for picture in grey]),
        "contrast": np.array([picture.std() for picture in grey]),
        # 24 x 24 pixels: without any texture of paper or screen.
        "contrast, blurred": np.array(
            [cv2.resize(picture, (24, 24), interpolation=cv2.INTER_AREA).std() for picture in grey]
        ),
    }
    domain_M = np.array([sample.domain for sample in crops.samples])
    live_M = np.array([sample.live for sample in crops.samples])
    print("| domain | " + " | ".join(f"AUC of {name}" for name in cues) + " |")
    print("| --- |" + " --- |" * len(cues))
    for domain in np.unique(domain_M):
        mask_M = domain_M == domain
        if len(np.unique(live_M[mask_M])) == 2:
            found = [auc(Scored.of(cue_M[mask_M], live_M[mask_M], ["-"] * mask_M.sum())) for cue_M in cues.values()]
            print(f"| {domain} | " + " | ".join(f"{100 * value:.0f}" for value in found) + " |")


if __name__ == "__main__":
    main()
