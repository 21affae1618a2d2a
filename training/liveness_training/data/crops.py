"""Crops of faces, cut by core exactly as the service cuts them, and kept on disk.

For each picture, and each frame that is taken of a video, the cache holds the crop that the service would score (view
0) and a few crops at other margins, from tight to wide. The network must know faces at every margin, since the crop of
a selfie that fills the picture has a smaller one.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crop_folder import CropFolder, Filling
from liveness_training.data.cutting import Recipe, chunks, expand
from liveness_training.data.datasets import Source
from liveness_training.data.samples import DataError, Sample
from liveness_training.data.workers import cut_in_order

# M faces found, V views of each, S crop size

VIEWS = 4
"""Crops of a face that the cache holds if nothing else is asked for."""

_CLIP = ClipSpec()
_FORMAT = 3  # version of the cache and of how faces are found in pictures; part of its key
_VIDEO_RULE = 2  # version of how faces are found in videos; part of the key of caches with videos
_NAMED = 10

_log = logging.getLogger(__name__)


class StackedCrops:
    """The crops of several folders, indexed as if they were one array; every folder stays memory-mapped."""

    def __init__(self, parts_MVSS3: Sequence[NDArray[np.uint8]]) -> None:
        self._parts = list(parts_MVSS3)
        self._ends = np.cumsum([len(part) for part in self._parts])
        views = min(part.shape[1] for part in self._parts)
        self.shape = (int(self._ends[-1]), views, *self._parts[0].shape[2:])

    def __getitem__(self, key: tuple[int | Sequence[int], int]) -> NDArray[np.uint8]:
        """One view of a row, shape (S, S, 3), or of several rows, shape (M, S, S, 3)."""
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
    """The pictures in which no face was found; they count as non-responses, never as correct."""
    crops_MVSS3: NDArray[np.uint8] | StackedCrops
    """Indexed by row and view; memory-mapped; view 0 is the crop that the service would score."""


def combine(sets: Sequence[CropSet]) -> CropSet:
    """Several crop sets as one.

    Raises:
        DataError: two of them hold the same picture of the same domain, or their crops differ in size.
    """
    _refuse_twice(sample for part in sets for sample in (*part.samples, *part.missed))
    if len({part.crops_MVSS3.shape[2:] for part in sets}) > 1:
        raise DataError("the data folders were prepared with different crop sizes: prepare them with one")
    if len(sets) == 1:
        return sets[0]
    return CropSet(
        samples=tuple(sample for part in sets for sample in part.samples),
        missed=tuple(sample for part in sets for sample in part.missed),
        crops_MVSS3=StackedCrops([np.asarray(part.crops_MVSS3) for part in sets]),
    )


def _refuse_twice(samples: Iterable[Sample]) -> None:
    for key, count in Counter(sample.key for sample in samples).items():
        if count > 1:
            raise DataError(f"{key} is in two of the data folders: a picture could land in two splits")


def prepare_all(
    sources: Sequence[Source],
    cache: Path,
    *,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    clip: ClipSpec = _CLIP,
    views: int = VIEWS,
    workers: int = 2,
) -> CropSet:
    """Cut the crops of several data sets and combine them; see `prepare` for the arguments.

    Raises:
        DataError: see `prepare` and `combine`. What the lists of files show is refused before anything is cut.
    """
    if not sources:
        raise DataError("no data: name at least one folder")
    lists = [source.read() for source in sources]
    _refuse_twice(sample for samples in lists for sample in samples)
    recipes = [Recipe(source.root, preprocess, detector, clip, views) for source in sources]
    return combine([_prepare(samples, recipe, cache, workers) for samples, recipe in zip(lists, recipes, strict=True)])


def prepare(
    source: Source | Path,
    cache: Path,
    *,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    clip: ClipSpec = _CLIP,
    views: int = VIEWS,
    workers: int = 2,
    chunk: int = 64,
) -> CropSet:
    """Cut the crops of a data set, or read them where the cache already has them.

    It can be stopped or killed at any time: the next call continues after the last complete chunk. Where two processes
    prepare the same data, the second waits for the first. A file that cannot be decoded is logged and its frames count
    as missed; later calls do not try it again until the folder of the cache is deleted.

    Args:
        source: the data set; a path is a folder with an `index.csv`.
        cache: folder of the cache; crops of other data or other settings in it stay as they are.
        preprocess: margin and size of view 0.
        detector: the detector and its settings.
        clip: the T frames of a video to take. A video of fewer frames gives every frame once.
        views: crops of a face, 1 or more: the first at the service's margin, the others at random margins from 1.1 to
            3.3, which are the same for all frames of a recording. Training with `service_view_share` 1 reads the first
            alone.
        workers: number of processes; with 0 or 1 this process does the work.
        chunk: pictures and frames between two saves; it may be a few more.

    Raises:
        DataError: the data set is faulty, a file is missing, or the disk has too little room.
    """
    if isinstance(source, Path):
        source = Source("index", source)
    return _prepare(source.read(), Recipe(source.root, preprocess, detector, clip, views), cache, workers, chunk)


def _prepare(listed: Sequence[Sample], recipe: Recipe, cache: Path, workers: int, chunk: int = 64) -> CropSet:
    samples = expand(listed, recipe.clip)
    size = recipe.preprocess.size
    folder = CropFolder(cache / _key(samples, recipe), (len(samples), recipe.views, size, size, 3))
    done = folder.done()
    if len(done.found) < len(samples):
        with folder.filling() as filling:
            try:
                _fill(filling, samples, recipe, workers, chunk)
            except KeyboardInterrupt:
                _log.warning(
                    "interrupted after %d of %d frames: the same command goes on from there",
                    len(folder.done().found),
                    len(samples),
                )
                raise
        done = folder.done()
    if done.unreadable:
        _log.warning(
            "%s: these files cannot be decoded and count as without a face: %s. Once they are mended, delete %s",
            recipe.root,
            ", ".join(done.unreadable),
            folder.path,
        )
    found = list(zip(samples, done.found, strict=True))
    return CropSet(
        samples=tuple(sample for sample, has in found if has),
        missed=tuple(sample for sample, has in found if has is False),
        crops_MVSS3=folder.crops(done),
    )


def _key(samples: Sequence[Sample], recipe: Recipe) -> str:
    """Name of the cache's folder, a hash of all that the crops depend on; labels, splits and colour scales are not."""
    settings = [
        _FORMAT,
        str(recipe.root.resolve()),
        recipe.preprocess.margin,
        recipe.preprocess.size,
        recipe.detector.model_dump(),
        recipe.views,
        [(sample.path, sample.sequence, sample.frame, sample.turn_deg) for sample in samples],
        *([_VIDEO_RULE] if any(sample.is_video for sample in samples) else []),
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def _fill(filling: Filling, samples: Sequence[Sample], recipe: Recipe, workers: int, chunk: int) -> None:
    done = len(filling.done.found)
    rest = samples[done:]
    if not rest:  # another process has cut them in the meantime
        return
    _refuse_missing(rest, recipe.root)
    faces = filling.done.faces
    results = cut_in_order(chunks(rest, chunk), recipe, workers)
    title = f"crops of {recipe.root.resolve().name}"
    # disable=None: a bar on a terminal only, not in a log
    bar = tqdm(total=len(samples), initial=done, unit="frame", desc=title, disable=None)
    with bar, closing(results):
        for result in results:
            filling.append(result)
            faces += len(result.crops_MVSS3)
            bar.set_postfix({"faces": faces}, refresh=False)
            bar.update(len(result.found))


def _refuse_missing(samples: Sequence[Sample], root: Path) -> None:
    for path in dict.fromkeys(sample.path for sample in samples):
        if not (root / path).exists():
            raise DataError(f"{root / path} does not exist: the data set lists it")


def found_report(crops: CropSet) -> str:
    """A table of faces found and not found by domain, split and label, then the recordings without any face."""
    counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for column, samples in enumerate((crops.samples, crops.missed)):
        for sample in samples:
            counts[sample.domain, sample.split or "-", "live" if sample.live else "spoof"][column] += 1
    width = max([len("domain"), *(len(domain) for domain, _, _ in counts)])
    lines = [f"{'domain':{width}}  split  label   frames   faces  not found"]
    for (domain, split, label), (found, missed) in sorted(counts.items()):
        total = found + missed
        lines.append(
            f"{domain:{width}}  {split:5}  {label:5}  {total:7}  {found:6}  {missed:5} ({100 * missed / total:.1f} %)"
        )
    seen = {sample.recording for sample in crops.samples}
    unseen = sorted({sample.recording for sample in crops.missed} - seen)
    if unseen:
        named = unseen[:_NAMED]
        lines.append(f"recordings without any face: {len(unseen)}")
        lines.extend(f"  {name}" for name in named)
        lines.extend([f"  and {len(unseen) - len(named)} more"] if len(unseen) > len(named) else [])
    return "\n".join(lines)
