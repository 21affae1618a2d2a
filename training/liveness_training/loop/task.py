"""What the loop trains."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from liveness_training.data.batch import Batch


class Task(nn.Module):
    """Networks and the energy that they descend; the loop knows nothing else of a method."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The energy of a batch under `loss`, and other sums over the batch for the log.

        All are sums over the batch; the loop decides whether to divide them. Entries named `*correct` are counts.
        """

    @abstractmethod
    def advance(self) -> None:
        """Called after each iteration, for schedules that depend on it."""

    if TYPE_CHECKING:  # torch declares the result of a call as Any

        def __call__(self, batch: Batch) -> dict[str, Tensor]:
            """See `forward`."""
            ...
