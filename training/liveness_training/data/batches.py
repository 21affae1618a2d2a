"""Drawing balanced, augmented batches of crops."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.augment import augment
from liveness_training.data.crops import CropSet

Item = tuple[Tensor, int]
"""image_3SS and label (0 live, 1 spoof)."""


class TrainingCrops(Dataset[Item]):
    """Augmented crops; the draw of a step depends on the seed and the step alone."""

    def __init__(self, crops: CropSet, preprocess: PreprocessSpec, seed: int, service_view_share: float) -> None:
        self._crops = crops
        self._preprocess = preprocess
        self._seed = seed
        self._service_view_share = service_view_share

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """The crop `row` as drawn at place `draw` of the run."""
        row, draw = key
        random = np.random.default_rng([self._seed, draw])
        views = self._crops.crops_MVSS3.shape[1]
        view = 0 if views == 1 or random.random() < self._service_view_share else int(random.integers(1, views))
        crop = augment(np.asarray(self._crops.crops_MVSS3[row, view]), random)
        image_3SS = torch.from_numpy(self._preprocess.to_tensor([crop])[0])
        return image_3SS, int(not self._crops.samples[row].live)


class BalancedBatches(Sampler[list[tuple[int, int]]]):
    """Batches that hold every domain and both of its labels, and within a label every species, equally often.

    A domain is drawn, then a label, then a species, then a recording, then a picture, each uniformly: neither a large
    data set nor a long recording outweighs the rest, and no domain's mix of labels gives the label away.
    """

    def __init__(self, crops: CropSet, rows: Sequence[int], *, batch_size: int, steps: int, seed: int) -> None:
        tree: dict[str, dict[bool, dict[str, dict[str, list[int]]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        )
        for row in rows:
            sample = crops.samples[row]
            tree[sample.domain][sample.live][sample.species][sample.sequence or sample.path].append(row)
        self._domains = [
            [
                [list(sequences.values()) for _, sequences in sorted(species.items())]
                for _, species in sorted(labels.items())
            ]
            for _, labels in sorted(tree.items())
        ]
        self._batch_size = batch_size
        self._steps = steps
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self._steps):
            random = np.random.default_rng([self._seed, 1, step])
            first = step * self._batch_size
            yield [(self._draw(place, random), first + place) for place in range(self._batch_size)]

    def _draw(self, place: int, random: np.random.Generator) -> int:
        # Domains take turns, and so do the labels within a domain: exact balance where the batch size allows it.
        labels = self._domains[place % len(self._domains)]
        species = labels[place // len(self._domains) % len(labels)]
        sequences = species[random.integers(len(species))]
        rows = sequences[random.integers(len(sequences))]
        return rows[random.integers(len(rows))]


def service_images(crops: CropSet, rows: Sequence[int]) -> NDArray[np.uint8]:
    """The crops that the service would score, shape (M, S, S, 3)."""
    return np.asarray(crops.crops_MVSS3[list(rows), 0])
