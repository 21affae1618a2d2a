"""Which images or clips make a batch: every domain, both of its labels and every species equally often.

It knows neither crops nor networks, and needs NumPy and PyTorch alone, so that it also draws where nothing else of this
package's dependencies is installed (`recipes/gpu`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Sampler

from liveness_training.data.samples import DataError, Sample

Key = tuple[tuple[int, ...], int, str]
"""Rows (one for an image, T for a clip); the number of the draw, which seeds the augmentation; and the PAI species that
is simulated with a live image, empty where the image is taken as it is."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image or a clip that may be drawn into a batch."""

    rows: tuple[int, ...]
    """One row of the crop set for an image, T for a clip."""
    sample: Sample
    """The sample of the image, or of the first frame of the clip."""
    simulation: str = ""
    """PAI species (a key of `SIMULATIONS`) that is simulated with it; empty where it is taken as it is."""


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


def image_items(samples: Sequence[Sample], rows: Sequence[int], *, simulations: Sequence[str] = ()) -> list[Drawn]:
    """The images to draw from: every row, and every live row once more for each kind of attack to simulate with it."""
    items = [Drawn((row,), samples[row]) for row in rows]
    return items + [
        replace(item, simulation=simulation) for simulation in simulations for item in items if item.sample.live
    ]
