"""What moves the weights: the optimiser, its learning rate, the precision, and the moving average that is exported."""

import copy
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import nn

from liveness_training.loop.alignment import GradientAligned
from liveness_training.loop.passes import OnePass, Passes
from liveness_training.loop.sharpness import SharpnessAware

if TYPE_CHECKING:  # at run time PyTorch is enough: `recipes/gpu` trains where pydantic is not installed
    from liveness_training.config import Precision, TrainConfig

M = TypeVar("M", bound=nn.Module)

log = logging.getLogger(__name__)


def learning_rate_factor(step: int, config: "TrainConfig") -> float:
    """Factor on the peak learning rate at an iteration: linear warm-up, then constant or half a cosine down to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    rest = max(config.steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / rest, 1.0)))


def make_optimiser(task: nn.Module, config: "TrainConfig") -> torch.optim.Optimizer:
    """The optimiser that the settings ask for, over all weights of a task that learn."""
    weights = [weight for weight in task.parameters() if weight.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            weights, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    # Norms and biases are left out of weight decay, which would pull them away from what they mean.
    decayed = [weight for weight in weights if weight.ndim > 1]
    others = [weight for weight in weights if weight.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )


def make_passes(task: nn.Module, config: "TrainConfig") -> Passes:
    """The passes that the settings ask for in each optimiser step."""
    if config.sharpness == "sam":
        return SharpnessAware(task, config.sharpness_rho)
    if config.sharpness == "gac_fas":
        return GradientAligned(task, config.sharpness_rho, config.alignment_alpha)
    return OnePass()


def usable_precision(precision: "Precision", device: torch.device) -> "Precision":
    """The precision to compute in: the requested one, but fp32 instead of bf16 on a processor that only emulates bf16.

    Such a processor (one without AVX-512) takes five times as long for bf16 as for fp32, measured with MobileNetV2 at
    160 px.
    """
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning("this processor has no bf16: computing in fp32, which is faster here")
        return "fp32"
    return precision


class WeightAverage(Generic[M]):
    """Exponential moving average of a module's weights and buffers; with a decay of 0 the weights themselves."""

    def __init__(self, module: M, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the module's state."""
        self._updates += 1
        # A short memory at first: otherwise the average would long hold the initial weights.
        decay = min(self._decay, self._updates / (self._updates + 9))
        for average, current in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {"module": self.module.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.module.load_state_dict(state["module"])
        self._updates = state["updates"]
