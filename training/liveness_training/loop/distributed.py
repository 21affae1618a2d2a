"""Several processes that train one network: read torchrun's variables, join the process group, share batch norms."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liveness_training.errors import TrainingError

# N images, C channels

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class World:
    """Which of the training processes this is, and its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that logs, evaluates and writes."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        return self.rank, self.size

    def total(self, values: Tensor) -> Tensor:
        """The values summed over all processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun this is one process alone.

    Args:
        device: `auto`, `cpu` or `cuda`; each process takes the GPU of its local rank.

    Raises:
        TrainingError: `cuda` is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but PyTorch finds no GPU: check the driver, or set device=cpu")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(device=chosen)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(dist.get_rank(), size, chosen)
    finally:
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """The sum over all processes; the gradient of each one's part is the sum of all processes' gradients."""

    @classmethod
    def of(cls, x: Tensor) -> Tensor:
        total: Tensor = cls.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return total

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 (torch gives it)
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 (torch gives it)
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with statistics of the whole batch of all processes, on any device; state as in `nn.BatchNorm2d`.

    `nn.SyncBatchNorm` does the same, but only on GPUs.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise (N, C, h, w)."""
        if not self.training:
            return super().forward(input)
        x_NChw = input.float()
        count = torch.tensor(float(x_NChw.numel() // x_NChw.shape[1]), device=x_NChw.device)
        dist.all_reduce(count)
        mean_C = _Total.of(x_NChw.sum((0, 2, 3))) / count
        centred_NChw = x_NChw - mean_C.view(1, -1, 1, 1)
        variance_C = _Total.of(centred_NChw.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(variance_C * count / (count - 1), self.momentum)
        scale_C = self.weight * (variance_C + self.eps).rsqrt()
        result = centred_NChw * scale_C.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return result.to(input.dtype)


def with_global_batch_norms(module: M, world: World) -> M:
    """The same module, whose batch norms now see the batches of all processes; unchanged for one process.

    Args:
        module: one that holds batch norms; not a batch norm itself.
        world: which of the processes this is.
    """
    if world.size == 1:
        return module
    if world.device.type == "cuda":
        # In place: a new module would come back for a batch norm alone.
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return module
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                norm = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum or 0.1)
                norm.load_state_dict(child.state_dict())
                norm.train(child.training)
                setattr(parent, name, norm)
    return module
