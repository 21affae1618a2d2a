"""A contact sheet: live pictures and the attacks simulated with them, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Picture
from liveness_training.data.cutting import Cutter, Recipe, expand
from liveness_training.data.datasets import Source
from liveness_training.data.samples import DataError, Sample
from liveness_training.data.simulation import SIMULATIONS, simulate

_GAP_PX = 4


def contact_sheet(crops: Sequence[Picture], seed: int, columns: int = 4) -> Picture:
    """A row for every live crop: the crop, then `columns` attacks of each kind.

    Args:
        crops: one or more crops of one size, (S, S, 3).
        seed: seed of the attacks.
        columns: attacks of each kind.
    """
    rows = []
    for number, crop in enumerate(crops):
        attacks = [
            simulate(species, crop, np.random.default_rng([seed, number, kind, column]))
            for kind, species in enumerate(SIMULATIONS)
            for column in range(columns)
        ]
        rows.append(np.concatenate([_framed(shown) for shown in (crop, *attacks)], axis=1))
    return np.concatenate(rows, axis=0)


def _framed(crop: Picture) -> Picture:
    return np.pad(crop, ((_GAP_PX, _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0)), constant_values=255)


def write_sheet(
    path: Path,
    sources: Sequence[Source],
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    *,
    people: int,
    columns: int,
    seed: int,
) -> int:
    """Write a contact sheet of some people of some data sets as PNG; returns the number of people.

    Raises:
        DataError: there is no live picture with a face, or the file cannot be written.
    """
    found: list[tuple[Source, Sample]] = []
    for source in sources:
        first = {sample.subject or sample.path: sample for sample in reversed(source.read()) if sample.live}
        found.extend((source, sample) for sample in first.values())
    random = np.random.default_rng(seed)
    crops: list[Picture] = []
    for index in random.permutation(len(found)).tolist():
        if len(crops) == people:
            break
        source, sample = found[index]
        clip = ClipSpec(frames=2)
        cut = Cutter(Recipe(source.root, preprocess, detector, clip, views=1))(expand([sample], clip)).crops_MVSS3
        crops.extend(cut[:1, 0])
    if not crops:
        raise DataError("no live picture with a face: attacks are simulated from those")
    sheet = contact_sheet(crops, seed, columns)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise DataError(f"{path} cannot be written: is its folder there, and does its name end in .png?")
    return len(crops)
