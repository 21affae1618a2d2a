"""Drawing balanced, augmented batches of images and of clips.

What an iteration draws depends on the seed and the iteration alone: not on the number of workers, not on how many
processes share a batch, not on whether the run was interrupted before.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture
from liveness_training.data.augment import augment
from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError, Sample
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


Key = tuple[tuple[int, ...], int, str]
"""Rows (one for an image, T for a clip); the number of the draw, which seeds the augmentation; and the PAI species that
is simulated with a live image, empty where the image is taken as it is."""
Augmentation = Literal["full", "flip", "none"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image or a clip that may be drawn into a batch."""

    rows: tuple[int, ...]
    """One row of the crop set for an image, T for a clip."""
    sample: Sample
    """The sample of the image, or of the first frame of the clip."""
    simulation: str = ""
    """PAI species (a key of `SIMULATIONS`) that is simulated with it; empty where it is taken as it is."""


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


class BalancedBatches(Sampler[list[Key]]):
    """Batches that hold every domain and both of its labels, and within a label every species, equally often.

    Domains and their labels take turns; then a species, a recording, and one image or clip of it are drawn, each
    uniformly. So neither a large data set nor a long recording outweighs the rest, and the share of attacks in a domain
    does not give the label away.

    Args:
        items: the images or clips to draw from.
        per_domain: images or clips of each domain in a batch.
        steps: iterations in all.
        seed: seed of every draw.
        start: iteration to begin with, 0 or more; the draws of an iteration do not depend on it.
        part: (rank, number) of the processes that share each batch; this process gets its part of it.
        accumulation: number of pieces that each process cuts its part into.
        stream: number that keeps the draws of images apart from those of clips.

    Raises:
        DataError: a batch cannot be shared by so many processes, or not be cut into so many pieces.
    """

    def __init__(
        self,
        items: Sequence[Drawn],
        *,
        per_domain: int,
        steps: int,
        seed: int,
        start: int = 0,
        part: tuple[int, int] = (0, 1),
        accumulation: int = 1,
        stream: int = 1,
    ) -> None:
        tree: dict[str, dict[bool, dict[str, dict[str, list[Drawn]]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        )
        for item in items:
            live, species = item.sample.live and not item.simulation, item.simulation or item.sample.species
            tree[item.sample.domain][live][species][item.sample.recording].append(item)
        self._domains = [
            [
                [list(recordings.values()) for _, recordings in sorted(species.items())]
                for _, species in sorted(labels.items())
            ]
            for _, labels in sorted(tree.items())
        ]
        self.batch_size = per_domain * len(self._domains)
        self._steps = steps
        self._seed = seed
        self._start = start
        rank, size = part
        if self.batch_size < size:
            # A process without a part would make no step, and the others would wait for it forever.
            raise DataError(
                f"a batch of {self.batch_size} ({per_domain} of each of {len(self._domains)} domains) cannot be shared "
                f"by {size} processes: raise images_per_domain and clips_per_domain, or start fewer processes"
            )
        if size > 1 and accumulation > 1 and self.batch_size % (size * accumulation):
            # Batch norms meet in every piece: processes with another number of them would wait for each other forever.
            raise DataError(
                f"a batch of {self.batch_size} ({per_domain} of each of {len(self._domains)} domains) cannot be cut "
                f"into {accumulation} equal pieces for each of {size} processes: change accumulation, "
                "images_per_domain or clips_per_domain"
            )
        self._slice = slice(rank * self.batch_size // size, (rank + 1) * self.batch_size // size)
        self._stream = stream

    def __len__(self) -> int:
        return self._steps - self._start

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self._start, self._steps):
            random = np.random.default_rng([self._seed, self._stream, step])
            first = (self._stream << 48) + step * self.batch_size
            batch = [(self._draw(index, random), first + index) for index in range(self.batch_size)]
            yield [(item.rows, draw, item.simulation) for item, draw in batch[self._slice]]

    def _draw(self, index: int, random: np.random.Generator) -> Drawn:
        # Domains take turns, and so do the labels within a domain: exact balance where the batch size allows it.
        labels = self._domains[index % len(self._domains)]
        species = labels[index // len(self._domains) % len(labels)]
        recordings = species[random.integers(len(species))]
        items = recordings[random.integers(len(recordings))]
        return items[random.integers(len(items))]


def image_items(crops: CropSet, rows: Sequence[int], *, simulations: Sequence[str] = ()) -> list[Drawn]:
    """The images to draw from: every row, and every live row once more for each kind of attack to simulate with it."""
    items = [Drawn((row,), crops.samples[row]) for row in rows]
    return items + [
        replace(item, simulation=simulation) for simulation in simulations for item in items if item.sample.live
    ]


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
