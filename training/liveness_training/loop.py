"""The training loop: it knows batches, losses and an optimiser, and no method."""

import copy
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from liveness_training.config import TrainConfig


class WeightAverage:
    """Exponential moving average of a module's weights and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
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


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Factor on the peak rate at a step: linear warm-up, then half a cosine down to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    rest = max(config.steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / rest, 1.0)))


def fit(task: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], config: TrainConfig, log: Path) -> nn.Module:
    """Train a task and return it with averaged weights.

    Args:
        task: maps a batch to a dict of losses with the key `loss`.
        batches: `config.steps` batches of (image_N3SS, label_N).
        config: the run's settings.
        log: a JSON line is appended to it for every 10th step.
    """
    # Norms and biases are left out of weight decay, which would pull them away from what they mean.
    decayed = [weight for weight in task.parameters() if weight.ndim > 1]
    others = [weight for weight in task.parameters() if weight.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )
    average = WeightAverage(task, config.ema_decay)
    task.train()
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as file, tqdm(total=config.steps, unit="step", desc="training") as progress:
        for step, (image_N3SS, label_N) in enumerate(batches):
            rate = config.learning_rate * learning_rate_factor(step, config)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                losses = task(image_N3SS.to(memory_format=torch.channels_last), label_N)
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimiser.step()
            average.update(task)
            progress.update()
            if step % 10 == 0 or step == config.steps - 1:
                values = {name: round(float(value.detach()), 5) for name, value in losses.items()}
                speed = (step + 1) * len(label_N) / (time.monotonic() - started)
                file.write(json.dumps({"step": step, "lr": rate, "images_per_s": round(speed, 1), **values}) + "\n")
                file.flush()
                progress.set_postfix(values)
    return average.module
