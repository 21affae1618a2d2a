"""Domain-adversarial terms: a gradient reversal layer and the domain discriminators behind it."""

from torch import Tensor, nn

from liveness_training.config import TrainConfig
from liveness_training.models.adversary import (
    ClassConditionalDiscriminator,
    DomainDiscriminator,
    GradientReversal,
    correct_domains,
    domain_energy,
)

# N images or clips, D feature size, K domains


class DomainEnergies(nn.Module):
    """The gradient reversal layer (GRL) and the discriminators behind it, for images (D_IB) or for clips (D_VB).

    Args:
        feature_dim: D.
        domains: K.
        config: factor and schedule of the GRL, size of the discriminators.
        plain: with the plain domain discriminator, Dis.
        conditional: with the class-conditional one, CCDD.
    """

    def __init__(self, feature_dim: int, domains: int, config: TrainConfig, *, plain: bool, conditional: bool) -> None:
        super().__init__()
        self.reversal = GradientReversal(config.grl_factor, config.grl_schedule, config.steps)
        sizes = (feature_dim, domains, config.discriminator_width, config.discriminator_dropout)
        self.dis = DomainDiscriminator(*sizes) if plain else None
        self.ccdd = ClassConditionalDiscriminator(*sizes) if conditional else None

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
        return energies
