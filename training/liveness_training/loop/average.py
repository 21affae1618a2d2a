"""The exponential moving average of a network's weights, which is what is evaluated and exported."""

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


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
