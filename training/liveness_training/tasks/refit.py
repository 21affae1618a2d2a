"""Fitting the last layer again, to real pictures alone and all groups alike, once the encoder has learned.

Features learn more than the last layer trained with them makes use of; fitted again on data in which no group outweighs
another, it does (Kirichenko et al., "Last layer re-training is sufficient for robustness to spurious correlations",
2023).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from liveness_training.data.samples import Sample
from liveness_training.errors import TrainingError
from liveness_training.models.network import LivenessClassifier

# M pictures, D embedding


def refitted(
    embeddings: Mapping[int, NDArray[np.float32]], samples: Sequence[Sample], decay: float
) -> LivenessClassifier:
    """A classifier of the embeddings by logistic regression.

    Domains that have both labels count alike, and so do both labels within each; the others do not count, since they
    could be told by their camera.

    Args:
        embeddings: row -> embedding (D,) of a training picture.
        samples: of all rows.
        decay: L2 on the weights, of embeddings with mean 0 and variance 1.

    Raises:
        TrainingError: no domain has both labels.
    """
    groups: dict[tuple[str, bool], list[int]] = {}
    for row in embeddings:
        groups.setdefault((samples[row].domain, samples[row].live), []).append(row)
    both = {domain for domain, live in groups if live and (domain, False) in groups}
    kept = {group: rows for group, rows in groups.items() if group[0] in both}
    if not kept:
        raise TrainingError("refit_decay: no source has both labels to fit the classifier to")
    rows = [row for group in kept.values() for row in group]
    share_M = torch.tensor([1 / len(group) / len(kept) for group in kept.values() for _ in group])
    live_M = torch.tensor([float(samples[row].live) for row in rows])
    embedding_MD = torch.from_numpy(np.stack([embeddings[row] for row in rows]))
    mean_D, spread_D = embedding_MD.mean(0), embedding_MD.std(0, correction=0).clamp(min=1e-6)
    scaled_MD = (embedding_MD - mean_D) / spread_D
    weight_D = torch.zeros(embedding_MD.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight_D, bias], max_iter=100, line_search_fn="strong_wolfe")

    def energy() -> torch.Tensor:
        optimiser.zero_grad()
        lost_M = torch.nn.functional.binary_cross_entropy_with_logits(
            scaled_MD @ weight_D + bias, live_M, reduction="none"
        )
        loss = (share_M * lost_M).sum() + decay / 2 * weight_D.square().sum()
        loss.backward()
        return loss

    optimiser.step(energy)
    classifier = LivenessClassifier(embedding_MD.shape[1])
    with torch.no_grad():
        half_D = weight_D / spread_D / 2  # half for live, half against spoof
        half = bias / 2 - half_D @ mean_D
        classifier.weight.copy_(torch.stack([half_D, -half_D]))
        classifier.bias.copy_(torch.stack([half, -half]))
    return classifier
