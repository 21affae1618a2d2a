"""The training pictures of a member, cut from a pack once: all views of all faces, and simulated attacks with them.

They lie in one array of bytes that each of the member's runs puts on the GPU as a whole. Attacks are simulated with the
crops of live people that any run trains on, each kind `versions` times with one of the crop's views at random: on the
fly, as `liveness-train` does it, they would take more of a processor than a GPU's training leaves.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from packed import Pack

from liveness_training.data.simulation import SIMULATIONS, simulate

# P pictures, M faces, V views, S side

cv2.setNumThreads(1)  # here, before anything forks: a forked process would wait for threads that it does not have
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a member on disk: first the views of all faces, row by row, then simulated attacks."""

    file: Path
    views: int
    live: tuple[int, ...]
    """Rows that attacks are simulated with."""
    versions: int

    def shape(self, faces: int, size: int) -> tuple[int, int, int, int]:
        """Shape of the array, (P, S, S, 3)."""
        return faces * self.views + len(SIMULATIONS) * len(self.live) * self.versions, size, size, 3

    def of_face(self, row: int, view: int) -> int:
        """Index of a view of a face; view 0 is the service's."""
        return row * self.views + view

    def of_attack(self, faces: int, species: str, number: int, version: int) -> int:
        """Index of a simulated attack with the live face `live[number]`."""
        kind = list(SIMULATIONS).index(species)
        return faces * self.views + (kind * len(self.live) + number) * self.versions + version


def pictures_of(pack: Pack, member: str, work: Path, views: int, versions: int) -> Pictures:
    """Where the pictures of a member are or will be."""
    live: set[int] = set()
    for run in pack.plan["runs"]:
        if run["member"] == member and run["config"]["simulate"]:
            live.update(row for row in pack.protocol(run["config"]).train if pack.samples[row].live)
    return Pictures(work / "views" / f"{member}.npy", views, tuple(sorted(live)), versions)


def prepare(pack: Pack, run: dict[str, Any], pictures: Pictures, workers: Executor) -> Path:
    """Cut and simulate all pictures of the member of a run; what is whole already is kept."""
    size, margin = run["preprocess"]["size"], run["preprocess"]["margin"]
    faces = len(pack.samples)
    shape = pictures.shape(faces, size)
    if pictures.file.exists() and np.load(pictures.file, mmap_mode="r").shape == shape:
        return pictures.file
    pictures.file.parent.mkdir(parents=True, exist_ok=True)
    partial = pictures.file.with_suffix(".partial")
    np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    chunks = [range(start, min(start + _CHUNK, faces)) for start in range(0, faces, _CHUNK)]
    numbers = {row: number for number, row in enumerate(pictures.live)}
    tasks = [workers.submit(_fill, pack.folder, partial, pictures, numbers, chunk, margin, size) for chunk in chunks]
    for task in tasks:
        task.result()
    partial.replace(pictures.file)
    return pictures.file


@cache
def _opened(folder: Path) -> Pack:
    return Pack(folder)


def _fill(
    folder: Path, file: Path, pictures: Pictures, numbers: dict[int, int], rows: range, margin: float, size: int
) -> None:
    """Write the pictures of some faces."""
    pack = _opened(folder)
    array: NDArray[np.uint8] = np.load(file, mmap_mode="r+")
    faces = len(pack.samples)
    for row in rows:
        crops = pack.crops(row, margin, pictures.views, size)
        array[pictures.of_face(row, 0) : pictures.of_face(row, 0) + pictures.views] = crops
        if row not in numbers:
            continue
        for kind, species in enumerate(SIMULATIONS):
            for version in range(pictures.versions):
                random = np.random.default_rng([row, kind, version])
                attack = simulate(species, crops[random.integers(pictures.views)], random)
                array[pictures.of_attack(faces, species, numbers[row], version)] = attack
