"""Augmented images and clips of a batch; `drawing` says which they are.

What an iteration draws depends on the seed and the iteration alone: not on the number of workers, not on how many
processes share a batch, not on whether the run was interrupted before.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture
from liveness_training.data.augment import augment
from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.drawing import Drawn, Key
from liveness_training.data.samples import DataError
from liveness_training.data.simulation import simulate
from liveness_training.data.teacher import Teacher

# S crop size, T frames of a clip


class Item(NamedTuple):
    """One image or clip of a batch, ready for the network."""

    image: Tensor
    """(3, S, S) for an image, (T, 3, S, S) for a clip."""
    label: int
    """0 live, 1 spoof."""
    domain: int
    """Index of the domain among the sources."""
    teacher: float
    """The teacher's log-odds of live; NaN without a teacher."""


Augmentation = Literal["full", "flip", "none"]


class TrainingCrops(Dataset[Item]):
    """Augmented images or clips. All frames of a clip are changed in the same way, since one camera took them."""

    def __init__(
        self,
        crops: CropSet,
        preprocess: PreprocessSpec,
        sources: Sequence[str],
        *,
        seed: int,
        service_view_share: float,
        augmentation: Augmentation = "full",
        grey_share: float = 0.1,
        teacher: Teacher | None = None,
    ) -> None:
        self._crops = crops
        self._teacher = teacher
        self._preprocess = preprocess
        self._domains = {domain: index for index, domain in enumerate(sources)}
        self._seed = seed
        self._service_view_share = service_view_share
        changes: dict[Augmentation, Callable[[Picture, np.random.Generator], Picture]] = {
            "full": partial(augment, grey_share=grey_share),
            "flip": _flip,
            "none": _leave,
        }
        self._change = changes[augmentation]

    def __getitem__(self, key: Key) -> Item:
        """The image or clip of a key, augmented as its draw says."""
        rows, draw, simulation = key
        random = np.random.default_rng([self._seed, draw])
        views = self._crops.crops_MVSS3.shape[1]
        view = 0 if views == 1 or random.random() < self._service_view_share else int(random.integers(1, views))
        change_seed = int(random.integers(2**63))
        taken = [np.asarray(self._crops.crops_MVSS3[row, view]) for row in rows]
        if simulation:
            attack_seed = [self._seed, draw, 1]
            taken = [simulate(simulation, crop, np.random.default_rng(attack_seed)) for crop in taken]
        crops = [self._change(crop, np.random.default_rng(change_seed)) for crop in taken]
        images_T3SS = torch.from_numpy(self._preprocess.to_tensor(crops))
        sample = self._crops.samples[rows[0]]
        image = images_T3SS[0] if len(rows) == 1 else images_T3SS
        # The teacher sees what the student sees: what augmentation takes from a picture is lost to both.
        teacher = self._teacher.log_odds(crops[0]) if self._teacher is not None and len(rows) == 1 else math.nan
        return Item(image, int(bool(simulation) or not sample.live), self._domains[sample.domain], teacher)


def _flip(crop: Picture, random: np.random.Generator) -> Picture:
    return np.ascontiguousarray(crop[:, ::-1]) if random.random() < 0.5 else crop


def _leave(crop: Picture, _random: np.random.Generator) -> Picture:
    return crop


def clip_items(clips: Sequence[Clip]) -> list[Drawn]:
    """The clips to draw from; domains whose clips are all live, or all attacks, are left out.

    Raises:
        DataError: no domain is left.
    """
    labels: Mapping[str, set[bool]] = defaultdict(set)
    for clip in clips:
        labels[clip.sample.domain].add(clip.sample.live)
    usable = [Drawn(clip.rows, clip.sample) for clip in clips if len(labels[clip.sample.domain]) == 2]
    if not usable:
        raise DataError(
            "lstm: no source has both live recordings and attacks of enough frames; check `sequence` in the index, "
            "or set short_clips=stretch"
        )
    return usable


def service_images(crops: CropSet, rows: Sequence[int]) -> NDArray[np.uint8]:
    """The crops of some rows as the service would score them (view 0), shape (M, S, S, 3)."""
    return np.asarray(crops.crops_MVSS3[list(rows), 0])
