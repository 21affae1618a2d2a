"""Learning from a teacher's scores beside the labels; not in the paper."""

import copy

import torch
from torch import Tensor, nn

from liveness_training.models.network import LivenessClassifier

# N images


def distillation_energy(
    logits_N2: Tensor, teacher_N: Tensor, temperature: float, counts_N: Tensor | None = None
) -> Tensor:
    """KL divergence of the student's probabilities from the teacher's, summed over the batch, in nats, times τ².

    Student's and teacher's log-odds of live are divided by the temperature τ first. The divergence is their
    cross-entropy minus the teacher's own entropy; the factor τ² keeps the size of the gradient (Hinton et al.,
    "Distilling the Knowledge in a Neural Network", 2015).

    Args:
        logits_N2: logits of the student, order [live, spoof].
        teacher_N: log-odds of live of the teacher.
        temperature: τ, above 0.
        counts_N: mask of the images that count; None counts all.
    """
    student_N = (logits_N2[:, 0] - logits_N2[:, 1]) / temperature
    teacher_N = teacher_N / temperature
    target_N = teacher_N.sigmoid()
    entropy_N, cross_N = (
        nn.functional.binary_cross_entropy_with_logits(odds_N, target_N, reduction="none")
        for odds_N in (teacher_N, student_N)
    )
    distance_N = cross_N - entropy_N
    return (distance_N if counts_N is None else distance_N[counts_N]).sum() * temperature**2


@torch.no_grad()
def weighted_mean(classifier: LivenessClassifier, head: LivenessClassifier, share: float) -> LivenessClassifier:
    """A classifier whose logits are (1 - share) times the classifier's and `share` times the distillation head's."""
    mean = copy.deepcopy(classifier)
    mean.weight.lerp_(head.weight, share)
    mean.bias.lerp_(head.bias, share)
    return mean
