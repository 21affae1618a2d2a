"""Sharpness-aware minimisation, SAM (Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
Generalization", ICLR 2021).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liveness_training.data.batch import Batch
from liveness_training.loop.passes import Run, Sums, held_statistics, moved_back


class SharpnessAware:
    """The gradient at the point of a small ball around the weights w where the energy L is about highest.

    Eq. (2) and (3) of the paper with p = 2: ε = ρ ∇L(w) / ‖∇L(w)‖₂, and the optimiser descends ∇L(w + ε). The norm is
    that of all weights together. Two passes a step.

    Args:
        task: what is trained.
        rho: ρ, radius of the ball.
    """

    def __init__(self, task: nn.Module, rho: float) -> None:
        self._task = task
        self._rho = rho

    def __call__(self, run: Run, batch: Batch) -> Sums:
        """See `Passes`."""
        sums = run(batch)
        # Weights without a gradient (the temporal head's in a step on images) stay out of it.
        weights = [weight for weight in self._task.parameters() if weight.grad is not None]
        ascent = ascents(gradients_of(weights), self._rho)
        with held_statistics(self._task), moved_back(weights):
            move(weights, ascent)
            run(batch)
        return sums


def gradients_of(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies of the gradients; zeros where a weight has none."""
    return [torch.zeros_like(weight) if weight.grad is None else weight.grad.detach().clone() for weight in weights]


def ascents(gradients: Sequence[Tensor], rho: float) -> list[Tensor]:
    """ρ g / ‖g‖₂ for each part of a gradient g; zeros where it vanishes."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in gradients]))
    return [each * (rho / norm.clamp_min(1e-12)) for each in gradients]


@torch.no_grad()
def move(weights: Sequence[Tensor], steps: Sequence[Tensor]) -> None:
    """Add a step to each of the weights, in place."""
    for weight, step in zip(weights, steps, strict=True):
        weight.add_(step)
