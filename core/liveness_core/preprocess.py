"""From aligned crops to the encoder's input tensor, as the bundle's specification says."""

from collections.abc import Sequence
from typing import Literal

import cv2
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
        return stacked(self, crops)


def stacked(spec: PreprocessSpec, crops: Sequence[Picture], max_value: float = 1.0) -> NDArray[np.float32]:
    """The tensor of some crops, shape (N, 3, S, S).

    Args:
        spec: size, colour order, mean and standard deviation.
        crops: RGB, each of shape (S, S, 3).
        max_value: what 255 becomes before the mean is subtracted.

    Raises:
        ValueError: a crop's shape is not (S, S, 3), or its type not `uint8`.
    """
    expected = (spec.size, spec.size, 3)
    for crop in crops:
        if crop.shape != expected:
            raise ValueError(f"a crop has shape {crop.shape}, expected {expected}: cut it with size={spec.size}")
        if crop.dtype != np.uint8:
            raise ValueError(f"a crop has type {crop.dtype}, expected uint8")
    std = np.asarray(spec.std, np.float32)
    scale = max_value / (255.0 * std)
    offset = np.asarray(spec.mean, np.float32) / std
    # Planes first: NumPy takes several times as long for an array whose last dimension is 3.
    planes_N3SS = np.empty((len(crops), 3, spec.size, spec.size), np.uint8)
    for planes_3SS, crop in zip(planes_N3SS, crops, strict=True):
        cv2.split(crop, list(planes_3SS[::-1] if spec.colour_order == "BGR" else planes_3SS))
    x_N3SS = planes_N3SS.astype(np.float32)
    if np.any(scale != 1):
        x_N3SS *= scale[:, None, None]
    if offset.any():
        x_N3SS -= offset[:, None, None]
    return x_N3SS
