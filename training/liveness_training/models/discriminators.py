"""Networks that tell which domain a feature comes from: CCDD (the paper's section 3.3) and plain Dis (Figure 5).

The paper does not give the widths and the dropout rate; 512 and 0.5 are those of SSDG (Jia et al., 2020).
"""

import torch
from torch import Tensor, nn

# N features (images or clips), D feature size, W width, K domains


def _trunk(feature_dim: int, width: int, dropout: float) -> nn.Sequential:
    """FC1 and FC2, each with ReLU and dropout."""
    return nn.Sequential(
        nn.Linear(feature_dim, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(dropout),
    )


class DomainDiscriminator(nn.Module):
    """Dis: FC-1, FC-2, FC-3; one domain classifier for live and spoof alike."""

    def __init__(self, feature_dim: int, domains: int, width: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        self.trunk = _trunk(feature_dim, width, dropout)
        self.head = nn.Linear(width, domains)

    def forward(self, feature_ND: Tensor) -> Tensor:
        """Domain scores (N, K), before the softmax."""
        scores_NK: Tensor = self.head(self.trunk(feature_ND))
        return scores_NK


class ClassConditionalDiscriminator(nn.Module):
    """CCDD: FC1 and FC2 on live and spoof together, then a live and a spoof head, each one linear layer."""

    def __init__(self, feature_dim: int, domains: int, width: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        self.trunk = _trunk(feature_dim, width, dropout)
        self.live_head = nn.Linear(width, domains)
        self.spoof_head = nn.Linear(width, domains)

    def forward(self, feature_ND: Tensor, label_N: Tensor) -> tuple[Tensor, Tensor]:
        """Domain scores of the live features (N_live, K) and of the spoof features (N_spoof, K); either may be empty.

        Args:
            feature_ND: features.
            label_N: 0 live, 1 spoof.
        """
        shared_NW = self.trunk(feature_ND)
        return self.live_head(shared_NW[label_N == 0]), self.spoof_head(shared_NW[label_N == 1])


def domain_energy(scores_NK: Tensor, domain_N: Tensor) -> Tensor:
    """Cross-entropy of the domains, summed over the features; 0 where there are no features."""
    return nn.functional.cross_entropy(scores_NK.float(), domain_N, reduction="sum")


def correct_domains(scores_NK: Tensor, domain_N: Tensor) -> Tensor:
    """How many features were assigned to their own domain."""
    with torch.no_grad():
        return (scores_NK.argmax(1) == domain_N).sum()
