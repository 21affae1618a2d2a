"""The training loop and what it trains: it knows batches, energies and an optimiser, and no method."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.loop import checkpoint
from liveness_training.loop.distributed import World
from liveness_training.loop.optimiser import (
    WeightAverage,
    learning_rate_factor,
    make_optimiser,
    make_passes,
    usable_precision,
)
from liveness_training.loop.passes import Run
from liveness_training.loop.progress import Progress

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Task(nn.Module):
    """Networks and the energy that they descend; the loop knows nothing else of a method."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The energy of a batch under `loss`, and other sums over the batch for the log.

        All are sums over the batch; the loop decides whether to divide them. Entries named `*correct` are counts. Of a
        batch with a mask `counted` only what it names adds to the sums.
        """

    @abstractmethod
    def advance(self) -> None:
        """Called after each iteration, for schedules that depend on it."""

    if TYPE_CHECKING:  # torch declares the result of a call as Any

        def __call__(self, batch: Batch) -> dict[str, Tensor]:
            """See `forward`."""
            ...


T = TypeVar("T", bound=Task)


class Trainer(Generic[T]):
    """A task in training: its optimiser, the average of its weights, and the current iteration.

    Args:
        task: what to train.
        config: the run's settings.
        world: which of several training processes this is; one process alone by default.
    """

    def __init__(self, task: T, config: TrainConfig, world: World | None = None) -> None:
        self.world = world or World()
        self.task = task.to(self.world.device)
        self.config = config
        self.step = 0
        self.optimiser = make_optimiser(self.task, config)
        self._passes = make_passes(self.task, config)
        self.average = WeightAverage(self.task, config.ema_decay)
        self._precision = usable_precision(config.precision, self.world.device)
        self._scaler = torch.amp.GradScaler(self.world.device.type, enabled=config.precision == "fp16")

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs. Random numbers come from seed and iteration, so no generator is kept."""
        return {
            "step": self.step,
            "task": self.task.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.step = state["step"]
        self.task.load_state_dict(state["task"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self._scaler.load_state_dict(state["scaler"])

    def fit(self, streams: Mapping[str, Iterable[Batch]], progress: Progress, checkpoints: Path | None = None) -> None:
        """Train to the last iteration; each iteration makes one optimiser step for every stream, in their order.

        Args:
            streams: name -> batches from iteration `self.step` on, each of them this process's part of the batch.
            progress: gets the figures of every iteration.
            checkpoints: folder for checkpoints; None writes none.
        """
        forward = self._parallel()
        self.task.train()
        sources = {name: iter(batches) for name, batches in streams.items()}
        while self.step < self.config.steps:
            rate = self.config.learning_rate * learning_rate_factor(self.step, self.config)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            sums, images = {}, 0
            for number, (name, batches) in enumerate(sources.items()):
                batch = next(batches)
                sums[name] = self._descend(partial(self._run, forward, number), batch.to(self.world.device))
                images += batch.pictures
            self.task.advance()
            self.average.update(self.task)
            self.step += 1
            progress.iteration(self.step - 1, rate, sums, images)
            if self.world.first and checkpoints is not None and self.step % self.config.checkpoint_every == 0:
                checkpoint.save(checkpoints, self.step, self.state_dict())

    def _parallel(self) -> Task | DistributedDataParallel:
        if self.config.compile:
            self.task.compile()
        if self.world.size == 1:
            return self.task
        # An image step leaves the temporal head's weights without a gradient, so unused ones must be looked for.
        return DistributedDataParallel(self.task, find_unused_parameters=True)

    def _seed(self, stream: int) -> None:
        """Make dropout depend on seed, iteration, stream and process alone, so that a resumed run draws the same."""
        sequence = (self.config.seed, self.step, stream, self.world.rank)
        seed = hash(sequence) & (2**63 - 1)
        if self.world.device.type == "cpu":
            # torch.manual_seed would also note for each step, with its stack, to seed GPUs once one is used.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _descend(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """Make one optimiser step; returns the sums over the whole batch, of all processes."""
        sums = self._passes(run, batch)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        size = torch.tensor(float(len(batch)), device=self.world.device)
        totals = self.world.total(torch.stack([*sums.values(), size]))
        return dict(zip([*sums, "count"], totals, strict=True))

    def _run(self, forward: Task | DistributedDataParallel, stream: int, batch: Batch) -> dict[str, Tensor]:
        """Make one pass, whose gradient is in `.grad` afterwards; returns the sums over this process's batch."""
        device = self.world.device.type
        self._seed(stream)
        size = int(self.world.total(torch.tensor(len(batch), device=self.world.device)))
        # Data-parallel gradients are averaged over the processes; an energy is a sum over the batch.
        scale = self.world.size / (size if self.config.reduction == "mean" else 1)
        sums: dict[str, Tensor] = {}
        self.optimiser.zero_grad(set_to_none=True)
        ends = [len(batch) * number // self.config.accumulation for number in range(1, self.config.accumulation + 1)]
        parts = [(start, end) for start, end in zip([0, *ends], ends, strict=False) if end > start]
        for start, end in parts:
            part = batch.part(start, end)
            last = end == len(batch)
            waits = nullcontext() if last or not isinstance(forward, DistributedDataParallel) else forward.no_sync()
            with waits:
                with torch.autocast(device, _DTYPES[self._precision], enabled=self._precision != "fp32"):
                    losses = forward(part)
                self._scaler.scale(losses["loss"] * scale).backward()
            for name, value in losses.items():
                part_sum = value.detach().float()
                sums[name] = sums[name] + part_sum if name in sums else part_sum
        return sums
