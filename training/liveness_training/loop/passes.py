"""Where an optimiser step gets its gradient from: one pass over the batch, or several as a method asks for.

A pass is a forward and a backward computation over the whole batch. All passes of a step draw the same dropout and the
same style mixing, since a method that compares gradients means those of one function.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from liveness_training.data.batch import Batch

Sums = dict[str, Tensor]
"""Name -> sum over the batch, as the task gives them."""
Run = Callable[[Batch], Sums]
"""Makes one pass over a batch: afterwards `.grad` holds the gradient of this pass alone."""


class Passes(Protocol):
    """A rule that says how many passes an optimiser step makes, and at which weights."""

    def __call__(self, run: Run, batch: Batch) -> Sums:
        """Leave in `.grad` what the optimiser shall descend, and the weights as they were.

        Returns the sums of the batch at the weights themselves, for the log.
        """
        ...


class OnePass:
    """The gradient of the energy at the weights: one pass a step."""

    def __call__(self, run: Run, batch: Batch) -> Sums:
        """See `Passes`."""
        return run(batch)


@contextmanager
def moved_back(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Copies of the weights, to which they are set back at the end, to the last bit."""
    before = [weight.detach().clone() for weight in weights]
    try:
        yield before
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)


@contextmanager
def held_statistics(task: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch as ever, but leave their running statistics alone.

    Those belong to the weights that are evaluated, not to points beside them.
    """
    # SyncBatchNorm and our own GlobalBatchNorm2d have this base class too.
    norms = [module for module in task.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
