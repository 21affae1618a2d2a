"""Giving grey pictures the score of the coloured ones that they are copies of.

A teacher that takes live people without colour for attacks hands that on, and augmentation does not undo it: what it
says of a grey copy outweighs the label. The encoder has learned enough, though, for a linear classifier to tell live
from attack without colour; so the last layer alone is changed when training is over, as little as may be where there is
colour.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture
from liveness_training.data.crops import CropSet
from liveness_training.errors import TrainingError
from liveness_training.evaluation.scoring import embed
from liveness_training.models.network import ImageNetwork, LivenessClassifier

# M pictures, D embedding

_PICTURES = 5000
_DECAY = 1e-3
"""L2 on the change, of embeddings with mean 0 and variance 1: keeps the equations solvable."""


def greyed(crop: Picture) -> Picture:
    """The crop without its colours."""
    return cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def fitted_to_grey(
    network: ImageNetwork, crops: CropSet, rows: Sequence[int], preprocess: PreprocessSpec, *, weight: float, seed: int
) -> LivenessClassifier:
    """The network's classifier, changed by what its encoder makes of training pictures and of their grey copies.

    Args:
        network: as it was trained.
        crops: what it was trained on.
        rows: of them; up to 5,000 that have colour are drawn.
        preprocess: of the crops.
        weight: see `indifferent_to_colour`.
        seed: of the draw.

    Raises:
        TrainingError: none of the pictures has colour.
    """
    drawn = np.random.default_rng([seed, 3]).permutation(sorted(rows)).tolist()
    coloured: list[int] = []
    for row in drawn:
        crop = np.asarray(crops.crops_MVSS3[row, 0])
        if (crop != crop[..., :1]).any():
            coloured.append(row)
        if len(coloured) == _PICTURES:
            break
    if not coloured:
        raise TrainingError("grey_weight: no picture to train on has colour, so there is nothing to make grey")
    colour, grey = (embed(network, crops, coloured, preprocess, change) for change in (None, greyed))
    colour_MD, grey_MD = (np.stack([found[row] for row in coloured]) for found in (colour, grey))
    return indifferent_to_colour(network.classifier, colour_MD, grey_MD, weight)


def indifferent_to_colour(
    classifier: LivenessClassifier, colour_MD: NDArray[np.float32], grey_MD: NDArray[np.float32], weight: float
) -> LivenessClassifier:
    """The classifier nearest to the given one that gives grey copies the coloured pictures' log-odds of live.

    Least squares: the mean square of what the log-odds of coloured pictures change by, plus `weight` times the mean
    square of what those of grey copies are off by.

    Args:
        classifier: of embeddings.
        colour_MD: embeddings of coloured pictures.
        grey_MD: embeddings of their grey copies.
        weight: of the grey copies.
    """
    with torch.no_grad():
        weight_D = (classifier.weight[0] - classifier.weight[1]).cpu().numpy().astype(np.float64)
    missed_M = (colour_MD - grey_MD) @ weight_D
    mean_D, spread_D = colour_MD.mean(0, dtype=np.float64), colour_MD.std(0, dtype=np.float64).clip(min=1e-6)
    colour_MP, grey_MP = (
        np.column_stack([(embedding_MD - mean_D) / spread_D, np.ones(len(embedding_MD))])
        for embedding_MD in (colour_MD, grey_MD)
    )
    decay_P = np.full(len(mean_D) + 1, _DECAY)
    decay_P[-1] = 0  # the offset may be what it likes
    equations_PP = (colour_MP.T @ colour_MP + weight * grey_MP.T @ grey_MP) / len(missed_M) + np.diag(decay_P)
    change_P = np.linalg.solve(equations_PP, weight * grey_MP.T @ missed_M / len(missed_M))
    change_D = change_P[:-1] / spread_D
    offset = change_P[-1] - change_D @ mean_D
    changed = LivenessClassifier(len(mean_D))
    with torch.no_grad():  # half of the change for live, half against spoof
        halves = torch.tensor(np.stack([change_D, -change_D]) / 2, dtype=torch.float32)
        changed.weight.copy_(classifier.weight.cpu() + halves)
        changed.bias.copy_(classifier.bias.cpu() + torch.tensor([offset, -offset], dtype=torch.float32) / 2)
    return changed
