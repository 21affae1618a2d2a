"""Gradient alignment over domains, GAC-FAS (Le & Woo, "Gradient Alignment for Cross-Domain Face Anti-Spoofing",
CVPR 2024).
"""

import torch
from torch import Tensor, nn

from liveness_training.data.batch import Batch
from liveness_training.loop.passes import Run, Sums, held_statistics, moved_back
from liveness_training.loop.sharpness import ascents, gradients_of, move


class GradientAligned:
    """The gradient at the weights w, and the mean of those at one ascending point for each of the K domains.

    L is the energy of the batch and L_i its part that comes from domain i. The point of domain i is
    w_i = w + ρ ∇L_i(w) / ‖∇L_i(w)‖₂ − α ∇L(w), and the optimiser descends ∇L(w) + (1/K) Σ_i ∇L(w_i). Subtracting
    α ∇L(w) rewards gradients at the points that agree with that of the whole. 2 K passes a step.

    The published code scales the ascent by the size of each weight (adaptive SAM), which the paper's formula does not.

    Args:
        task: what is trained.
        rho: ρ, length of the ascents.
        alpha: α.
    """

    def __init__(self, task: nn.Module, rho: float, alpha: float) -> None:
        self._task = task
        self._rho = rho
        self._alpha = alpha

    def __call__(self, run: Run, batch: Batch) -> Sums:
        """See `Passes`."""
        weights = [weight for weight in self._task.parameters() if weight.requires_grad]
        sums: Sums = {}
        of_domains: list[list[Tensor]] = []
        for domain in sorted(set(batch.domain.tolist())):
            part = batch.counting(batch.domain == domain)
            if not of_domains:  # batch norms see the whole batch in every pass, and learn from it once
                found = run(part)
            else:
                with held_statistics(self._task):
                    found = run(part)
            sums = {name: sums[name] + value if sums else value for name, value in found.items()}
            of_domains.append(gradients_of(weights))
        total = [torch.stack(parts).sum(0) for parts in zip(*of_domains, strict=True)]
        descended = [each.clone() for each in total]
        for gradient in of_domains:
            with held_statistics(self._task), moved_back(weights):
                move(weights, ascents(gradient, self._rho))
                move(weights, [-self._alpha * each for each in total])
                run(batch)
            for sum_, each in zip(descended, gradients_of(weights), strict=True):
                sum_.add_(each, alpha=1 / len(of_domains))
        for weight, each in zip(weights, descended, strict=True):
            if weight.grad is not None:  # a weight that has no part in this batch must not decay either
                weight.grad = each
        return sums
