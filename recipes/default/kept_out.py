"""Scores of faces by the members of a bundle that never saw their data set, from `liveness-train embed`.

The runs of our own member without a domain are not kept, so it is left out; what stays are the published members, and
of those the ones that were not trained on the domain (`committee.TRAINED_ON`). Scale and threshold come from the other
domains.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from committee import OURS, TRAINED_ON, Faces, balanced_threshold, calibration, combined
from committee_bundle import probability
from numpy.typing import NDArray

from liveness_core.bundle import Manifest
from liveness_training.data.samples import Sample
from liveness_training.evaluation.calibration import fit_temperature

# N faces, M members

LIMIT = 8.0
"""Largest log-odds of a member, as in the bundle."""


def read_embedded(files: Sequence[Path], manifest: Manifest) -> Faces:
    """The faces of some archives of `liveness-train embed`, with the log-odds of each member, calibrated."""
    members = tuple(members_of(manifest))
    parts = []
    for file in files:
        with np.load(file) as archive:
            parts.append({name: archive[name] for name in archive.files})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    samples = tuple(
        Sample(str(path), str(domain), bool(live), str(species), str(subject), str(recording))
        for path, domain, live, species, subject, recording in zip(
            *(whole[name] for name in ("path", "domain", "live", "species", "subject", "recording")), strict=True
        )
    )
    groups = [(sample.domain, sample.live) for sample in samples]
    counts = {group: groups.count(group) for group in set(groups)}
    weight_N = np.array([1 / counts[group] for group in groups])
    return Faces(samples, members, whole["embedding"].astype(np.float64), weight_N)


def members_of(manifest: Manifest) -> dict[str, Any]:
    """The entries of the bundle's members, in the order of its embedding."""
    entries: Any = manifest.provenance.config["members"]
    return {entry["name"]: entry for entry in entries}


def members_for(faces: Faces, domain: str) -> tuple[str, ...]:
    """The members that never saw a domain."""
    return tuple(name for name in faces.members if name not in OURS and TRAINED_ON.get(name) != domain)


def kept_out_scores(faces: Faces, domain: str) -> tuple[NDArray[np.float64], float]:
    """Scores of all faces by these members, shape (N,), and the threshold `balanced`, both from the other domains."""
    others_N = faces.domain != domain
    log_odds_N = combined(faces, calibration(faces, others_N), members_for(faces, domain), LIMIT)
    temperature = fit_temperature(log_odds_N[others_N], faces.live[others_N])
    score_N = probability(log_odds_N, temperature)
    return score_N, balanced_threshold(faces, score_N, others_N)
