"""Embeddings of sources and target in two dimensions, as in the paper's Figures 2 and 4."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from liveness_training.data.crops import CropSet
from liveness_training.data.split_crops import SplitCrops
from liveness_training.evaluation.scoring import embed
from liveness_training.models.network import ImageNetwork
from liveness_training.runs.folder import RunError, RunFolder

# M crops, D embedding

_PERPLEXITY = 30


@dataclass(frozen=True, slots=True)
class FeatureSample:
    """Some crops' embeddings, laid out in two dimensions."""

    points_M2: NDArray[np.float64]
    species_M: tuple[str, ...]
    """PAI species; `live` for bona fide."""
    domain_M: tuple[str, ...]
    target_M: NDArray[np.bool_]
    """True for the held-out domains, false for the sources."""


def sample_features(
    network: ImageNetwork,
    data: SplitCrops,
    *,
    per_group: int = 60,
    seed: int = 0,
) -> FeatureSample | None:
    """Up to `per_group` crops of each domain and species, by t-SNE (van der Maaten & Hinton, 2008) of their embeddings.

    Sources are shown by their development people and, where there are, test people; never by those trained on, whose
    features say nothing about generalisation. None where there are too few crops for a picture.
    """
    held_out = {
        row for name, part in data.protocol.reports.items() if name.startswith("held_out/") for row in part.rows
    }
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in data.protocol.evaluated:
        groups[data.crops.samples[row].domain, data.crops.samples[row].species].append(row)
    random = np.random.default_rng(seed)
    rows = [int(row) for _, members in sorted(groups.items()) for row in random.permutation(members)[:per_group]]
    if len(rows) <= 3 * 5:
        return None
    embeddings = embed(network, data.crops, rows, data.preprocess)
    points_M2 = TSNE(perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3), init="pca", random_state=seed).fit_transform(
        np.stack([embeddings[row] for row in rows])
    )
    return FeatureSample(
        np.asarray(points_M2, np.float64),
        tuple(data.crops.samples[row].species for row in rows),
        tuple(data.crops.samples[row].domain for row in rows),
        np.array([row in held_out for row in rows]),
    )


def compared(
    baseline: RunFolder, full: RunFolder, baseline_crops: CropSet, full_crops: CropSet
) -> tuple[FeatureSample, FeatureSample]:
    """The embeddings of two runs on the same crops, each laid out by itself.

    Args:
        baseline: a run that has ended.
        full: another one, on the same sources and target.
        baseline_crops: the crops of the first.
        full_crops: the crops of the second.

    Raises:
        RunError: the runs have other sources, another target or other data, or no target at all.
    """
    both = baseline.split(baseline_crops), full.split(full_crops)
    if not baseline.config.hold_out:
        raise RunError(f"{baseline.path} held no domain out, so there is no target to show")
    for name, one, other in (
        ("sources", *(data.protocol.sources for data in both)),
        ("hold_out", baseline.config.hold_out, full.config.hold_out),
        ("data", *([data.crops.samples[row].key for row in data.protocol.evaluated] for data in both)),
    ):
        if one != other:
            raise RunError(f"{baseline.path} and {full.path} have other {name}: their features cannot be compared")
    samples = [sample_features(run.network(), data) for run, data in zip((baseline, full), both, strict=True)]
    if samples[0] is None or samples[1] is None:
        raise RunError("there are too few crops for a picture of features")
    return samples[0], samples[1]
