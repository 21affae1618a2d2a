"""Crops of faces, cut by core exactly as the service cuts them, and kept on disk.

For each picture the cache holds the crop that the service would score (view 0) and a few cut at other margins, from
tight to wide: selfies that fill the picture shrink the crop, so the network must know faces at every margin.
"""

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from liveness_core.alignment import align
from liveness_core.detection import DetectorSpec, FaceDetector, create_detector
from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture
from liveness_training.data.samples import DataError, Sample, read_index

# M faces found, V views of each, S crop size

_VIEW_MARGINS = (1.1, 3.3)
_CHUNK = 256


class StackedCrops:
    """The crops of several folders, addressed as if they were one array; each stays memory-mapped."""

    def __init__(self, parts_MVSS3: Sequence[NDArray[np.uint8]]) -> None:
        self._parts = list(parts_MVSS3)
        self._ends = np.cumsum([len(part) for part in self._parts])
        views = min(part.shape[1] for part in self._parts)
        self.shape = (int(self._ends[-1]), views, *self._parts[0].shape[2:])

    def __getitem__(self, key: tuple[int | Sequence[int], int]) -> NDArray[np.uint8]:
        """The crop of a row in a view, shape (S, S, 3), or those of several rows, (M, S, S, 3)."""
        rows, view = key
        if isinstance(rows, int | np.integer):
            part = int(np.searchsorted(self._ends, rows, side="right"))
            start = int(self._ends[part - 1]) if part else 0
            return np.asarray(self._parts[part][int(rows) - start, view])
        if not len(rows):
            return np.empty((0, *self.shape[2:]), np.uint8)
        return np.stack([self[int(row), view] for row in rows])


@dataclass(frozen=True, slots=True)
class CropSet:
    """The crops of one or more data folders."""

    samples: tuple[Sample, ...]
    """The pictures in which a face was found, in the order of the crops."""
    missed: tuple[Sample, ...]
    """The pictures in which none was found; they count as non-responses, never as right."""
    crops_MVSS3: NDArray[np.uint8] | StackedCrops
    """Indexed by row and view; memory-mapped; view 0 is the service's."""


def combine(sets: Sequence[CropSet]) -> CropSet:
    """Several crop sets as one.

    Raises:
        DataError: two of them hold the same picture of the same domain, or their crops differ in size.
    """
    samples = [sample for each in sets for sample in (*each.samples, *each.missed)]
    twice = [key for key, count in Counter(sample.key for sample in samples).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]} is in two of the data folders: a picture could land in two splits")
    if len({each.crops_MVSS3.shape[2:] for each in sets}) > 1:
        raise DataError("the data folders were prepared with different crop sizes: prepare them with one")
    if len(sets) == 1:
        return sets[0]
    return CropSet(
        samples=tuple(sample for each in sets for sample in each.samples),
        missed=tuple(sample for each in sets for sample in each.missed),
        crops_MVSS3=StackedCrops([np.asarray(each.crops_MVSS3) for each in sets]),
    )


def prepare(
    root: Path, cache: Path, *, preprocess: PreprocessSpec, detector: DetectorSpec, views: int = 4, workers: int = 2
) -> CropSet:
    """Cut the crops of every picture in `root/index.csv`, or read them where the cache already has them.

    Args:
        root: folder of the data.
        cache: folder of the cache; the crops of other data or other settings in it stay untouched.
        preprocess: margin and size of view 0.
        detector: which detector, and how.
        views: crops of each face, the first at the service's margin, the others at random ones from 1.1 to 3.3.
        workers: processes.

    Raises:
        DataError: the index is faulty or a picture cannot be read.
    """
    samples = read_index(root)
    index = (root / "index.csv").read_bytes()
    settings = json.dumps([preprocess.model_dump(), detector.model_dump(), views, str(root.resolve())])
    folder = cache / hashlib.sha256(index + settings.encode()).hexdigest()[:16]
    if not (folder / "found.json").exists():
        _cut_all(samples, root, folder, preprocess, detector, views, workers)
    found = json.loads((folder / "found.json").read_text())
    crops = np.load(folder / "crops.npy", mmap_mode="r")
    return CropSet(
        samples=tuple(sample for sample, has in zip(samples, found, strict=True) if has),
        missed=tuple(sample for sample, has in zip(samples, found, strict=True) if not has),
        crops_MVSS3=crops[: sum(found)],
    )


def _cut_all(
    samples: Sequence[Sample],
    root: Path,
    folder: Path,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    views: int,
    workers: int,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(samples), views, preprocess.size, preprocess.size, 3)
    crops = np.lib.format.open_memmap(folder / "crops.npy", mode="w+", dtype=np.uint8, shape=shape)
    found: list[bool] = []
    row = 0
    # Spawned: a forked worker has the state of OpenCV's threads but not the threads, and would wait for them forever.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, fresh, initializer=_start_worker, initargs=(detector,)) as pool:
        chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
        cut = partial(_cut_chunk, root=root, preprocess=preprocess, views=views)
        with tqdm(total=len(samples), unit="picture", desc="cutting crops") as progress:
            for chunk in pool.map(cut, chunks):
                for crop_VSS3 in chunk:
                    found.append(crop_VSS3 is not None)
                    if crop_VSS3 is not None:
                        crops[row] = crop_VSS3
                        row += 1
                progress.update(len(chunk))
    crops.flush()
    # Written last and at once: its presence says that the crops are whole.
    partial_file = folder / "found.json.partial"
    partial_file.write_text(json.dumps(found))
    partial_file.rename(folder / "found.json")


_worker: dict[str, Any] = {}


def _start_worker(spec: DetectorSpec) -> None:
    cv2.setNumThreads(1)
    _worker["detector"] = create_detector(spec)


def _cut_chunk(
    samples: Sequence[Sample], root: Path, preprocess: PreprocessSpec, views: int
) -> list[NDArray[np.uint8] | None]:
    return list(_cut(samples, root, preprocess, views, _worker["detector"]))


def _cut(
    samples: Sequence[Sample], root: Path, preprocess: PreprocessSpec, views: int, detector: FaceDetector
) -> Iterator[NDArray[np.uint8] | None]:
    for sample in samples:
        picture = read_picture(root / sample.path)
        faces = detector.detect(picture)
        if not faces:
            yield None
            continue
        # Seeded by the picture, so that a cache is the same whoever cuts it.
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(sample.path.encode()).digest()[:8], "big"))
        margins = [preprocess.margin, *random.uniform(*_VIEW_MARGINS, size=views - 1)]
        yield np.stack([align(picture, faces[0], margin=margin, size=preprocess.size).pixels for margin in margins])


def read_picture(path: Path) -> Picture:
    """An upright RGB picture from a file.

    Raises:
        DataError: there is no such file or it is not a picture.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)  # applies the EXIF orientation
    if bgr is None:
        raise DataError(f"{path} cannot be read as a picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
