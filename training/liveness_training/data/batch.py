"""A batch: images or clips with their labels, and how to cut and move it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# N images or clips, T frames of a clip, S crop size


@dataclass(frozen=True, slots=True)
class Batch:
    """Images or clips, never both, with their labels."""

    image: Tensor
    """(N, 3, S, S) for images, (N, T, 3, S, S) for clips."""
    label: Tensor
    """(N,), 0 live and 1 spoof."""
    domain: Tensor
    """(N,), index of the domain among the sources."""
    teacher: Tensor | None = None
    """(N,), the teacher's log-odds of live; None without a teacher."""

    @property
    def holds_clips(self) -> bool:
        """True for a batch of clips, false for one of images."""
        return self.image.ndim == 5

    @property
    def pictures(self) -> int:
        """How many pictures it holds; every frame of a clip counts."""
        return math.prod(self.image.shape[:-3])

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, end: int) -> "Batch":
        """The images or clips from `start` up to but not including `end`."""
        teacher = None if self.teacher is None else self.teacher[start:end]
        return Batch(self.image[start:end], self.label[start:end], self.domain[start:end], teacher)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, its images in the memory layout that convolves fastest."""
        image = self.image.to(device, non_blocking=True)
        if not self.holds_clips:
            image = image.to(memory_format=torch.channels_last)
        teacher = None if self.teacher is None else self.teacher.to(device, non_blocking=True)
        return Batch(
            image, self.label.to(device, non_blocking=True), self.domain.to(device, non_blocking=True), teacher
        )
