"""The adversary of the encoder: networks that tell a feature's domain, and the layer that reverses their gradient.

The networks are CCDD (the paper's section 3.3) and plain Dis (Figure 5); the paper does not give their widths and
dropout rate; 512 and 0.5 are those of SSDG (Jia et al., 2020). The layer is the gradient reversal layer of section 3.4
(Ganin & Lempitsky, 2015).
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

# N features (images or clips), D feature size, W width, K domains

Schedule = Literal["constant", "dann"]


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


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradient * factor.to(gradient.dtype), None


class GradientReversal(nn.Module):
    """Forward R(x) = x; backward dR/dx = λ, with λ ≤ 0.

    Args:
        factor: λ; the paper's is −0.2, constant. 0 cuts the discriminator off: the encoder gets none of its gradient.
        schedule: `constant`, or `dann`, which ramps λ up: λ · (2 / (1 + exp(−10 p)) − 1), p from 0 to 1 over `steps`
            (Ganin et al., 2016, section 5.2.2).
        steps: calls of `advance` until p is 1.

    The step is a buffer and so part of the state dict: a resumed run continues the ramp where it stopped.
    """

    step: Tensor

    def __init__(self, factor: float = -0.2, schedule: Schedule = "constant", steps: int = 1) -> None:
        super().__init__()
        if factor > 0:
            raise ValueError(f"factor is {factor}: above 0 it would not reverse")
        self.factor = factor
        self.schedule = schedule
        self.steps = steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def current_factor(self) -> float:
        """λ at the current step."""
        if self.schedule == "constant":
            return self.factor
        progress = min(int(self.step) / self.steps, 1.0)
        return self.factor * (2 / (1 + math.exp(-10 * progress)) - 1)

    def advance(self) -> None:
        """Move the ramp on by one optimiser step."""
        self.step += 1

    def forward(self, x: Tensor) -> Tensor:
        """The same values; see the class for the gradient."""
        # As a tensor: a number would be baked into a compiled graph.
        reversed_x: Tensor = _Reverse.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            x, torch.tensor(self.current_factor(), device=x.device)
        )
        return reversed_x
