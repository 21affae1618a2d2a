"""A bundle's embeddings of data: what calibrations, weights and temporal heads are fitted on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liveness_core.bundle import load_bundle
from liveness_core.clips import ClipSpec
from liveness_core.runtime import RuntimeOptions
from liveness_training.data.datasets import Source
from liveness_training.data.samples import Sample
from liveness_training.data.viewed import ViewedFace, viewed_faces

_BATCH = 16


def write_embeddings(bundle: Path, sources: Sequence[Source], out: Path, *, precision: str | None = None) -> int:
    """Write an archive with one row for each face: `embedding` (n, D), `score` (photo), and what is known of the face.

    Args:
        bundle: folder of the bundle, whose detector and views cut the faces.
        sources: the data; of videos the frames are taken that a clip's score is made of.
        out: the archive.
        precision: which encoder; None takes the first.

    Returns:
        How many faces were found.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: a file is missing or may not be read.
    """
    loaded = load_bundle(bundle, precision=precision, runtime=RuntimeOptions("cpu"))
    manifest = loaded.manifest
    clip = ClipSpec() if manifest.temporal is None else manifest.temporal.clip
    found: list[Sample] = []
    embeddings, scores = [], []
    waiting: list[ViewedFace] = []

    def score() -> None:
        for face, result in zip(waiting, loaded.scorer.score([each.crops for each in waiting]), strict=True):
            found.append(face.sample)
            embeddings.append(result.embedding)
            scores.append(float(result.score))
        waiting.clear()

    for source in sources:
        for face in viewed_faces(source.root, source.read(), manifest.views, manifest.detector, clip):
            waiting.append(face)
            if len(waiting) == _BATCH:
                score()
    score()
    np.savez_compressed(
        out,
        embedding=np.array(embeddings, np.float32),
        score=np.array(scores),
        path=np.array([sample.path for sample in found]),
        domain=np.array([sample.domain for sample in found]),
        live=np.array([sample.live for sample in found]),
        species=np.array([sample.species for sample in found]),
        subject=np.array([sample.subject for sample in found]),
        recording=np.array([sample.recording for sample in found]),
        frame=np.array([-1 if sample.frame is None else sample.frame for sample in found]),
    )
    return len(found)
