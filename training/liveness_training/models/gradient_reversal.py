"""The gradient reversal layer (Ganin & Lempitsky, 2015; the paper's section 3.4)."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

Schedule = Literal["constant", "dann"]


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
