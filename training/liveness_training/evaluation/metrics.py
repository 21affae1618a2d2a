"""Error rates from scores. Higher scores are more bona fide; a score at or above the threshold counts as live.

APCER: share of attack presentations classified as bona fide, of the worst PAI species (ISO/IEC 30107-3).
BPCER: share of bona fide presentations classified as attacks. HTER: mean of BPCER and the share of all attacks that
pass, as the literature uses it. EER: the rate at which those two are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

# M scored pictures

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores with labels, species and clusters."""

    scores_M: Scores
    live_M: NDArray[np.bool_]
    species_M: NDArray[np.str_]
    """PAI species of every score; `live` for bona fide."""
    cluster_M: NDArray[np.str_]
    """Cluster of every score, e.g. `domain/person`: the unit that the bootstrap draws."""

    @classmethod
    def of(
        cls,
        scores: Sequence[float] | Scores,
        live: Sequence[bool] | NDArray[np.bool_],
        species: Sequence[str],
        clusters: Sequence[str] | None = None,
    ) -> "Scored":
        """Make it from plain sequences; without clusters every score is a cluster of its own."""
        if clusters is None:
            clusters = [str(index) for index in range(len(scores))]
        return cls(
            np.asarray(scores, np.float64),
            np.asarray(live, bool),
            np.asarray(species, str),
            np.asarray(clusters, str),
        )

    def part(self, mask_M: NDArray[np.bool_]) -> "Scored":
        """The scores where the mask is true."""
        return Scored(self.scores_M[mask_M], self.live_M[mask_M], self.species_M[mask_M], self.cluster_M[mask_M])

    @property
    def domains(self) -> NDArray[np.str_]:
        """Domain of every score where clusters are `domain/person`; otherwise every cluster is a domain of its own."""
        names_C, cluster_M = np.unique(self.cluster_M, return_inverse=True)
        return np.array([name.partition("/")[0] for name in names_C.tolist()])[cluster_M]

    @property
    def has_both(self) -> bool:
        """Whether there are bona fide presentations and attacks; without both there are no error rates."""
        return bool(self.live_M.any() and not self.live_M.all())


def auc(scored: Scored) -> float:
    """Area under the ROC curve, 0 to 1: how often a bona fide picture scores above an attack."""
    return float(roc_auc_score(scored.live_M, scored.scores_M))


def bpcer(scored: Scored, threshold: float) -> float:
    """Share of bona fide pictures below the threshold."""
    return float((scored.scores_M[scored.live_M] < threshold).mean())


def apcer_by_species(scored: Scored, threshold: float) -> dict[str, float]:
    """For each PAI species the share of its attacks at or above the threshold."""
    attacks = scored.part(~scored.live_M)
    return {
        str(species): float((attacks.scores_M[attacks.species_M == species] >= threshold).mean())
        for species in np.unique(attacks.species_M)
    }


def apcer(scored: Scored, threshold: float) -> float:
    """APCER: that of the worst PAI species, 0 to 1."""
    return max(apcer_by_species(scored, threshold).values())


def acer(scored: Scored, threshold: float) -> float:
    """Half the sum of APCER (of the worst PAI species) and BPCER."""
    return (apcer(scored, threshold) + bpcer(scored, threshold)) / 2


def bpcer_at_apcer(scored: Scored, limit: float) -> float:
    """BPCER at the lowest threshold at which no PAI species passes more often than `limit`.

    With limits of 10, 5 and 1 % it is what ISO/IEC 30107-3 calls BPCER10, BPCER20 and BPCER100. Where more attacks than
    that have a score of 1, only a threshold above 1 keeps the limit, and it refuses everybody.
    """
    return bpcer(scored, _lowest_threshold(scored, limit))


def hter(scored: Scored, threshold: float) -> float:
    """Half the sum of BPCER and the share of all attacks that pass."""
    passed = float((scored.scores_M[~scored.live_M] >= threshold).mean())
    return (bpcer(scored, threshold) + passed) / 2


def eer(scored: Scored) -> tuple[float, float]:
    """The equal error rate and the threshold at which it is reached."""
    return _equal_rates(scored, None)


def source_eer_threshold(dev: Scored) -> float:
    """The threshold at which the error rates of development people are equal when every source counts the same.

    With d a source, of D_live sources with bona fide presentations and D_spoof with attacks, it is where
    1/D_live ∑_d BPCER_d = 1/D_spoof ∑_d (share of the attacks of d that pass). With pooled people the largest data set
    would decide alone. With one source it is the threshold of `eer`.

    Args:
        dev: scores of development people, with clusters `domain/person`.
    """
    domain_M = dev.domains
    names = np.unique(domain_M)
    if len(names) == 1:
        return eer(dev)[1]
    weight_M = np.empty(len(domain_M))
    for name in names:
        for live in (True, False):
            mask_M = (domain_M == name) & (dev.live_M == live)
            weight_M[mask_M] = 1 / max(mask_M.sum(), 1)
    return _equal_rates(dev, weight_M)[1]


def _equal_rates(scored: Scored, weight_M: Scores | None) -> tuple[float, float]:
    # All points: the two rates may be equal in the middle of a straight piece, which is otherwise left out.
    false_pass, true_pass, thresholds = roc_curve(
        scored.live_M, scored.scores_M, sample_weight=weight_M, drop_intermediate=False
    )
    nearest = int(np.argmin(np.abs(false_pass - (1 - true_pass))))
    threshold = float(min(thresholds[nearest], 1.0))
    return float((false_pass[nearest] + 1 - true_pass[nearest]) / 2), threshold


def threshold_at_apcer(scored: Scored, limit: float) -> float:
    """The lowest threshold at which no PAI species passes more often than `limit`; 1 where it would lie above."""
    return min(_lowest_threshold(scored, limit), 1.0)


def _lowest_threshold(scored: Scored, limit: float) -> float:
    highest = 0.0
    attacks = scored.part(~scored.live_M)
    for species in np.unique(attacks.species_M):
        ordered = np.sort(attacks.scores_M[attacks.species_M == species])[::-1]
        allowed = int(np.floor(limit * len(ordered) + 1e-9))  # 0.29 * 100 is 28.999999999999996
        # The first attack that must not pass sets the threshold just above its own score.
        if allowed < len(ordered):
            highest = max(highest, float(np.nextafter(ordered[allowed], 2.0)))
    return highest
