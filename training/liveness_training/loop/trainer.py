"""The training loop: it knows batches, energies and an optimiser, and no method."""

import copy
import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from liveness_training.config import Precision, TrainConfig
from liveness_training.loop import checkpoint
from liveness_training.loop.distributed import World
from liveness_training.loop.progress import Progress
from liveness_training.tasks.method import Batch, LivenessTask

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class WeightAverage:
    """Exponential moving average of a module's weights and buffers; with a decay of 0 the weights themselves."""

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

    def state_dict(self) -> dict[str, Any]:
        """All that it needs to go on."""
        return {"module": self.module.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.module.load_state_dict(state["module"])
        self._updates = state["updates"]


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Factor on the peak rate at an iteration: linear warm-up, then constant or half a cosine down to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    rest = max(config.steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / rest, 1.0)))


def make_optimiser(task: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of the settings, over all of a task's weights that learn."""
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


def usable_precision(precision: Precision, device: torch.device) -> Precision:
    """The precision that is computed in: bf16 becomes fp32 on a processor that would only imitate it.

    Such a one (without AVX-512) takes five times as long for it as for fp32, measured with MobileNetV2 at 160 px.
    """
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning("this processor has no bf16: computing in fp32, which is faster here")
        return "fp32"
    return precision


class Trainer:
    """A task in training: its optimiser, its average, the iteration it is at.

    Args:
        task: its forward pass gives the energy of a batch, summed over it, under `loss`.
        config: the run's settings.
        world: which of the processes this is.
    """

    def __init__(self, task: LivenessTask, config: TrainConfig, world: World | None = None) -> None:
        self.world = world or World()
        self.task = task.to(self.world.device)
        self.config = config
        self.step = 0
        self.optimiser = make_optimiser(self.task, config)
        self.average = WeightAverage(self.task, config.ema_decay)
        self._precision = usable_precision(config.precision, self.world.device)
        self._scaler = torch.amp.GradScaler(self.world.device.type, enabled=config.precision == "fp16")

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs; random numbers are drawn afresh from seed and iteration, so none of theirs."""
        return {
            "step": self.step,
            "task": self.task.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.step = state["step"]
        self.task.load_state_dict(state["task"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self._scaler.load_state_dict(state["scaler"])

    def fit(self, streams: Mapping[str, Iterable[Batch]], progress: Progress, checkpoints: Path | None = None) -> None:
        """Train to the last iteration: in each, one optimiser step for every stream, in their order.

        Args:
            streams: name -> batches from iteration `self.step` on; this process's part of each.
            progress: is told of each iteration.
            checkpoints: folder for them; None for none.
        """
        forward = self._parallel()
        self.task.train()
        sources = {name: iter(batches) for name, batches in streams.items()}
        while self.step < self.config.steps:
            rate = self.config.learning_rate * learning_rate_factor(self.step, self.config)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            sums, images = {}, 0
            for place, (name, batches) in enumerate(sources.items()):
                batch = next(batches)
                self._seed(place)
                sums[name] = self._descend(forward, batch.to(self.world.device))
                images += math.prod(batch.image.shape[:-3])
            self.task.advance()
            self.average.update(self.task)
            self.step += 1
            progress.iteration(self.step - 1, rate, sums, images)
            if self.world.first and checkpoints is not None and self.step % self.config.checkpoint_every == 0:
                checkpoint.save(checkpoints, self.step, self.state_dict())

    def _parallel(self) -> nn.Module:
        if self.config.compile:
            self.task.compile()
        if self.world.size == 1:
            return self.task
        # An image step leaves the temporal head's weights without a gradient, so unused ones must be looked for.
        return DistributedDataParallel(self.task, find_unused_parameters=True)

    def _seed(self, stream: int) -> None:
        """Dropout depends on seed, iteration, stream and process: a resumed run draws what the other one did."""
        sequence = (self.config.seed, self.step, stream, self.world.rank)
        torch.manual_seed(hash(sequence) & (2**63 - 1))

    def _descend(self, forward: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step; returns the batch's sums, over all processes."""
        device = self.world.device.type
        size = int(self.world.total(torch.tensor(len(batch), device=self.world.device)))
        # Data-parallel gradients are averaged over the processes; an energy is a sum over the batch.
        scale = self.world.size / (size if self.config.reduction == "mean" else 1)
        sums: dict[str, Tensor] = {}
        self.optimiser.zero_grad(set_to_none=True)
        ends = [len(batch) * (place + 1) // self.config.accumulation for place in range(self.config.accumulation)]
        parts = [(start, end) for start, end in zip([0, *ends], ends, strict=False) if end > start]
        for start, end in parts:
            part = batch.part(start, end)
            last = end == len(batch)
            waits = nullcontext() if last or not isinstance(forward, DistributedDataParallel) else forward.no_sync()
            with waits:
                with torch.autocast(device, _DTYPES[self._precision], enabled=self._precision != "fp32"):
                    losses = forward(part.image, part.label, part.domain, part.teacher)
                self._scaler.scale(losses["loss"] * scale).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach().float()
        self._scaler.step(self.optimiser)
        self._scaler.update()
        totals = self.world.total(torch.stack([*sums.values(), torch.tensor(float(len(batch)), device=device)]))
        return dict(zip([*sums, "count"], totals, strict=True))
