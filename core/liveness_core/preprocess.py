"""From aligned crops to the encoder's input tensor, as the bundle's specification says."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from liveness_core.types import Picture

# N images, S crop size


class PreprocessSpec(BaseModel):
    """How a face becomes the encoder's input. Training writes it into the bundle, the service reads it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(default=2.7, ge=1.0, le=6.0)
    """Side of the crop divided by the size of the face (see `alignment`)."""
    size: int = Field(default=224, ge=32, le=1024)
    """Side of the crop in pixels."""
    colour_order: Literal["RGB", "BGR"] = "RGB"
    """Order of the colour channels in the encoder's input."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per channel, in `colour_order`: subtracted from values that were scaled to [0, 1]."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per channel, in `colour_order`: divides the result of the subtraction. Above 0."""

    def model_post_init(self, _context: object) -> None:
        """Refuse a `std` that cannot be divided by."""
        if min(self.std) <= 0:
            raise ValueError("std: each value must be above 0")

    def to_tensor(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Stack RGB crops, each of shape (S, S, 3) and type `uint8`, into a `float32` tensor of shape (N, 3, S, S).

        Raises:
            ValueError: a crop's shape is not (S, S, 3).
        """
        expected = (self.size, self.size, 3)
        for crop in crops:
            if crop.shape != expected:
                raise ValueError(f"a crop has shape {crop.shape}, expected {expected}: cut it with size={self.size}")
        std = np.asarray(self.std, np.float32)
        scale = 1.0 / (255.0 * std)
        offset = np.asarray(self.mean, np.float32) / std
        # Channel by channel: NumPy takes four times as long for an array whose last dimension is 3.
        x_N3SS = np.empty((len(crops), 3, self.size, self.size), np.float32)
        for channel, source in enumerate((2, 1, 0) if self.colour_order == "BGR" else (0, 1, 2)):
            for x_3SS, crop in zip(x_N3SS, crops, strict=True):
                np.multiply(crop[..., source], scale[channel], out=x_3SS[channel])
            x_N3SS[:, channel] -= offset[channel]
        return x_N3SS
