"""Energies beside the classification's: of the domain discriminators, and of a teacher's scores (not in the paper)."""

import copy

import torch
from torch import Tensor, nn

from liveness_training.config import TrainConfig
from liveness_training.models.adversary import (
    ClassConditionalDiscriminator,
    DomainDiscriminator,
    GradientReversal,
    correct_domains,
    domain_energy,
)
from liveness_training.models.network import LivenessClassifier

# N images or clips, D feature size, K domains


class DomainEnergies(nn.Module):
    """The gradient reversal layer (GRL) and the discriminators behind it, for images (D_IB) or for clips (D_VB).

    Args:
        feature_dim: D.
        domains: K.
        config: factor and schedule of the GRL, size of the discriminators.
        plain: with the plain domain discriminator, Dis.
        conditional: with the class-conditional one, CCDD.
        single_side: with one that sees live features alone, as in SSDG (Jia et al., CVPR 2020, section 3.2): live
            people shall look alike in all domains, attacks need not. SSDG's has one hidden layer, this one two.
    """

    def __init__(
        self,
        feature_dim: int,
        domains: int,
        config: TrainConfig,
        *,
        plain: bool = False,
        conditional: bool = False,
        single_side: bool = False,
    ) -> None:
        super().__init__()
        self.reversal = GradientReversal(config.grl_factor, config.grl_schedule, config.steps)
        sizes = (feature_dim, domains, config.discriminator_width, config.discriminator_dropout)
        self.dis = DomainDiscriminator(*sizes) if plain else None
        self.ccdd = ClassConditionalDiscriminator(*sizes) if conditional else None
        self.of_live = DomainDiscriminator(*sizes) if single_side else None

    def forward(self, feature_ND: Tensor, label_N: Tensor, domain_N: Tensor) -> dict[str, Tensor]:
        """Energies by name, summed over the batch, and as `*correct` how many domains were classified correctly."""
        reversed_ND = self.reversal(feature_ND)
        energies = {}
        if self.dis is not None:
            scores_NK = self.dis(reversed_ND)
            energies["dis"] = domain_energy(scores_NK, domain_N)
            energies["dis_correct"] = correct_domains(scores_NK, domain_N)
        if self.ccdd is not None:
            live, spoof = self.ccdd(reversed_ND, label_N)
            of_live, of_spoof = domain_N[label_N == 0], domain_N[label_N == 1]
            energies["live_domain"] = domain_energy(live, of_live)
            energies["spoof_domain"] = domain_energy(spoof, of_spoof)
            energies["ccdd_correct"] = correct_domains(live, of_live) + correct_domains(spoof, of_spoof)
        if self.of_live is not None:
            is_live_N = label_N == 0
            energies["single_side"] = domain_energy(self.of_live(reversed_ND[is_live_N]), domain_N[is_live_N])
        return energies


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
