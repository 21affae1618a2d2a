"""How many attacks to expect at a threshold, from what a bundle knows of attacks on other cameras."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from liveness_core.bundle import AttackScores, Manifest, OperatingPoint
from liveness_core.bundle.manifest import SCORE_EDGES
from liveness_service.submission import Endpoint

Source = Literal["reference_attacks", "reference_scores", "operating_points"]

SOURCES: dict[Source, str] = {
    "reference_attacks": "attacks on other cameras, by species",
    "reference_scores": "attacks on other cameras, all species together",
    "operating_points": "the next laxer operating point of the bundle",
}
"""What each source is, in words."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The share of attacks that pass a threshold on other cameras: an expectation for this one, and no measurement."""

    apcer: float
    """Of the worst species that is told apart, 0 to 1."""
    species: dict[str, float]
    """By PAI species; empty where they are not told apart."""
    source: Source
    attacks: int
    """How many attacks it rests on; 0 where the bundle does not say."""


def expected_apcer(manifest: Manifest, endpoint: Endpoint, threshold: float) -> Expectation:
    """What the bundle lets expect at this threshold.

    Args:
        manifest: of the bundle that gave the scores.
        endpoint: photos or clips.
        threshold: a face is live at or above it.
    """
    attacks, scores = manifest.reference_attacks, manifest.reference_scores
    if attacks is not None and endpoint is Endpoint.PHOTO:
        species = {name: share_passed(one, threshold) for name, one in attacks.photo.items()}
        return Expectation(
            max(species.values()), species, "reference_attacks", sum(one.count for one in attacks.photo.values())
        )
    labelled = None if scores is None else scores.photo if endpoint is Endpoint.PHOTO else scores.clip
    if labelled is not None:
        # The shares are known at 0.05, 0.10 …; between them the higher one counts, so that no attack is talked away.
        edge = int(np.searchsorted(SCORE_EDGES, threshold, side="left"))
        below = labelled.spoof.shares[edge - 1] if edge else 0.0
        return Expectation(1 - below, {}, "reference_scores", labelled.spoof.count)
    laxer = [point for point in points_of(manifest, endpoint).values() if point.threshold <= threshold]
    return Expectation(min((point.apcer for point in laxer), default=1.0), {}, "operating_points", 0)


def points_of(manifest: Manifest, endpoint: Endpoint) -> dict[str, OperatingPoint]:
    """The operating points of photos or clips; none for clips where the bundle scores photos only."""
    if endpoint is Endpoint.PHOTO:
        return dict(manifest.operating_points)
    return {} if manifest.temporal is None else dict(manifest.temporal.operating_points)


def share_passed(attacks: AttackScores, threshold: float) -> float:
    """The share of attacks at or above the threshold, between their quantiles along straight lines."""
    quantiles = np.array(attacks.quantiles)
    if threshold <= quantiles[0]:
        return 1.0
    if threshold > quantiles[-1]:
        return 0.0
    shares = np.linspace(0, 1, len(quantiles))
    # Of equal quantiles the first counts: attacks with exactly the score of the threshold pass.
    values, first = np.unique(quantiles, return_index=True)
    return float(1 - np.interp(threshold, values, shares[first]))
