"""Refitting the classifier after training, so that grey copies of pictures get the score of the coloured ones.

A teacher that takes live people without colour for attacks passes that on to its student. Augmentation does not undo
it, since the teacher's score of a grey copy outweighs the label. But the encoder has learned enough for a linear
classifier to tell live from attack without colour. So only the last layer is changed, and as little as possible for
coloured pictures.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.types import Picture
from liveness_training.data.split_crops import SplitCrops
from liveness_training.errors import TrainingError
from liveness_training.evaluation.scoring import embed
from liveness_training.models.network import ImageNetwork, LivenessClassifier

# M pictures, D embedding

_PICTURES = 5000
_DECAY = 1e-3
"""Weight of the squared change, for embeddings of mean 0 and variance 1; keeps the equations solvable."""


def greyed(crop: Picture) -> Picture:
    """The crop without its colours."""
    return cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def refit_to_grey(network: ImageNetwork, data: SplitCrops, *, weight: float, seed: int) -> LivenessClassifier:
    """The network's classifier, refit to the embeddings of training pictures and of their grey copies.

    Args:
        network: the trained network.
        data: the data that it was trained on; up to 5,000 training pictures that have colour are drawn.
        weight: weight of the grey copies, see `refit_classifier`.
        seed: seed of the draw.

    Raises:
        TrainingError: no training picture has colour.
    """
    drawn = np.random.default_rng([seed, 3]).permutation(sorted(data.protocol.train)).tolist()
    coloured: list[int] = []
    for row in drawn:
        crop = np.asarray(data.crops.crops_MVSS3[row, 0])
        if (crop != crop[..., :1]).any():
            coloured.append(row)
        if len(coloured) == _PICTURES:
            break
    if not coloured:
        raise TrainingError("grey_weight: no picture to train on has colour, so there is nothing to make grey")
    colour, grey = (embed(network, data.crops, coloured, data.preprocess, change) for change in (None, greyed))
    colour_MD, grey_MD = (np.stack([found[row] for row in coloured]) for found in (colour, grey))
    return refit_classifier(network.classifier, colour_MD, grey_MD, weight)


def refit_classifier(
    classifier: LivenessClassifier, colour_MD: NDArray[np.float32], grey_MD: NDArray[np.float32], weight: float
) -> LivenessClassifier:
    """A classifier near the given one that gives grey copies the log-odds of live of their coloured originals.

    Least squares: it minimises the mean squared change of the log-odds of coloured pictures, plus `weight` times the
    mean squared difference between grey copies and the log-odds that their originals had.

    Args:
        classifier: the trained classifier.
        colour_MD: embeddings of coloured pictures.
        grey_MD: embeddings of their grey copies.
        weight: weight of the grey copies, 0 or more.
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
    decay_P[-1] = 0  # the offset may change freely
    equations_PP = (colour_MP.T @ colour_MP + weight * grey_MP.T @ grey_MP) / len(missed_M) + np.diag(decay_P)
    change_P = np.linalg.solve(equations_PP, weight * grey_MP.T @ missed_M / len(missed_M))
    change_D = change_P[:-1] / spread_D
    offset = change_P[-1] - change_D @ mean_D
    changed = LivenessClassifier(len(mean_D))
    with torch.no_grad():  # half of the change is added to the logit of live, half is taken from that of spoof
        halves = torch.tensor(np.stack([change_D, -change_D]) / 2, dtype=torch.float32)
        changed.weight.copy_(classifier.weight.cpu() + halves)
        changed.bias.copy_(classifier.bias.cpu() + torch.tensor([offset, -offset], dtype=torch.float32) / 2)
    return changed
