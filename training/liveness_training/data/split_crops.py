"""The data of a run as one record."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.batches import service_images
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Protocol

# M rows, S crop size


@dataclass(frozen=True, slots=True)
class SplitCrops:
    """The crops of a run, which rows of them serve what, and how a crop becomes input of the network."""

    crops: CropSet
    protocol: Protocol
    preprocess: PreprocessSpec

    def inputs(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Some rows as the network takes them from the service, shape (M, 3, S, S)."""
        return self.preprocess.to_tensor(list(service_images(self.crops, rows)))

    def live(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether some rows are bona fide, shape (M,)."""
        return np.array([self.crops.samples[row].live for row in rows])

    def domains(self, rows: Sequence[int]) -> list[str]:
        """The domains of some rows, each once, in alphabetical order."""
        return sorted({self.crops.samples[row].domain for row in rows})
