"""Faces of a data folder as a bundle with several views takes them."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.types import FaceCrops
from liveness_core.views import View, cut_views
from liveness_training.data.cutting import FaceFinder, UnreadableError
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, Split

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ViewedFace:
    """The largest face of a picture, or of a frame of a video."""

    sample: Sample
    crops: FaceCrops


def viewed_faces(
    root: Path, samples: Sequence[Sample], views: Sequence[View], detector: DetectorSpec, clip: ClipSpec
) -> Iterator[ViewedFace]:
    """The faces that are found in some samples, one picture after the other; of a video in the frames that are scored.

    A file that cannot be decoded is logged and left out.

    Args:
        root: folder that the samples' paths are relative to.
        samples: pictures, and videos as a whole.
        views: the crops of a face.
        detector: finds the faces.
        clip: the frames of a video.

    Raises:
        DataError: a file is missing or may not be read.
    """
    finder = FaceFinder(root, detector, clip, lambda _sample, picture, face: cut_views(views, picture, face))
    for sample in samples:
        try:
            if not sample.is_video:
                if (crops := finder.of_picture(sample)) is not None:
                    yield ViewedFace(sample, crops)
                continue
            taken, again = finder.of_video(sample)
        except UnreadableError as error:
            _log.warning("%s", error)
            continue
        for number, (crops, is_again) in enumerate(zip(taken, again, strict=True)):
            if crops is not None and not is_again:
                yield ViewedFace(replace(sample, frame=number, sequence=sample.sequence or sample.path), crops)


def drawn_evenly(samples: Sequence[Sample], split: Split, count: int, seed: int) -> list[Sample]:
    """Pictures of the people of a split, in turn of each domain and label, at random within them; no videos.

    Args:
        samples: the data.
        split: whose pictures.
        count: how many, or fewer where there are not as many.
        seed: of the choice.
    """
    groups: dict[tuple[str, bool], list[Sample]] = {}
    for sample, own in zip(samples, assign_splits(samples), strict=True):
        if own == split and not sample.is_video:
            groups.setdefault((sample.domain, sample.live), []).append(sample)
    random = np.random.default_rng(seed)
    shuffled = [[group[index] for index in random.permutation(len(group))] for _, group in sorted(groups.items())]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
    return list(itertools.islice((sample for sample in in_turn if sample is not None), count))
