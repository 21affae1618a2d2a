"""A batch: images or clips with their labels, and how to cut and move it."""

import math
from dataclasses import dataclass, replace

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
    counted: Tensor | None = None
    """(N,), mask of the images or clips whose energy counts. The others only take part in what looks at the whole
    batch, as batch norms do; None counts all."""

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
        teacher, counted = (None if each is None else each[start:end] for each in (self.teacher, self.counted))
        return Batch(self.image[start:end], self.label[start:end], self.domain[start:end], teacher, counted)

    def counting(self, counted: Tensor) -> "Batch":
        """The same batch, of which only a part counts."""
        return replace(self, counted=counted)

    def counted_alone(self) -> "Batch":
        """The images or clips that count."""
        if self.counted is None:
            return self
        teacher = None if self.teacher is None else self.teacher[self.counted]
        return Batch(self.image[self.counted], self.label[self.counted], self.domain[self.counted], teacher)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, its images in the memory layout that convolves fastest."""
        image = self.image.to(device, non_blocking=True)
        if not self.holds_clips:
            image = image.to(memory_format=torch.channels_last)
        label, domain = (each.to(device, non_blocking=True) for each in (self.label, self.domain))
        teacher, counted = (
            None if each is None else each.to(device, non_blocking=True) for each in (self.teacher, self.counted)
        )
        return Batch(image, label, domain, teacher, counted)
