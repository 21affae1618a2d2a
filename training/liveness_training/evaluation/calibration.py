"""Temperature and operating points, which are fitted after training on development data only."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from liveness_core.bundle import AttackScores, OperatingPoint, ReferenceAttacks
from liveness_core.bundle.manifest import LabelledScores, ScoreDistribution
from liveness_training.evaluation.metrics import Scored, apcer, bpcer, eer, threshold_at_apcer

# M pictures

_LIMITS = {"apcer10": 0.10, "apcer5": 0.05, "apcer1": 0.01}
DEFAULT_POINT = "apcer5"
_QUANTILES = 101


def fit_temperature(difference_M: NDArray[np.float64], live_M: NDArray[np.bool_]) -> float:
    """The T that makes sigmoid(difference / T) the best probability of live, by log-likelihood (Guo et al., 2017).

    Live pictures and attacks have the same total weight, whatever their numbers.

    Args:
        difference_M: logit of live minus logit of spoof.
        live_M: true for bona fide.
    """
    sign_M = np.where(live_M, 1.0, -1.0)
    weight_M = np.where(live_M, 0.5 / max(live_M.sum(), 1), 0.5 / max((~live_M).sum(), 1))

    def loss(log_temperature: float) -> float:
        return float((weight_M * np.logaddexp(0, -sign_M * difference_M / np.exp(log_temperature))).sum())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def operating_points(dev: Scored, chosen_on: str) -> dict[str, OperatingPoint]:
    """`eer`, and for 10, 5 and 1 % the lowest threshold at which no PAI species passes more often than that.

    Args:
        dev: scores of development data, never of data that are reported on.
        chosen_on: name of these data, for the bundle.
    """
    thresholds = {"eer": eer(dev)[1], **{name: threshold_at_apcer(dev, limit) for name, limit in _LIMITS.items()}}
    return {
        name: OperatingPoint(
            threshold=threshold, chosen_on=chosen_on, apcer=apcer(dev, threshold), bpcer=bpcer(dev, threshold)
        )
        for name, threshold in thresholds.items()
    }


def reference_scores(dev: Scored) -> LabelledScores:
    """Distribution of the scores of development data, the reference for measuring drift."""
    return LabelledScores(
        live=ScoreDistribution.of(dev.scores_M[dev.live_M].tolist()),
        spoof=ScoreDistribution.of(dev.scores_M[~dev.live_M].tolist()),
    )


def reference_attacks(dev: Scored, scored_by: str) -> ReferenceAttacks:
    """Scores of the attacks by species, from which `liveness calibrate` expects an APCER on other cameras.

    Within a species every domain counts the same, whatever the number of its attacks.

    Args:
        dev: scores of data that was not trained on; clusters are `domain/person`.
        scored_by: which data, and what scored them, in words.
    """
    found = {}
    for species in np.unique(dev.species_M[~dev.live_M]).tolist():
        own = dev.part(dev.species_M == species)
        domain_M = own.domains
        shares = np.linspace(0, 1, 10 * _QUANTILES)
        pooled = [np.quantile(own.scores_M[domain_M == name], shares) for name in np.unique(domain_M)]
        quantiles = np.quantile(np.concatenate(pooled), np.linspace(0, 1, _QUANTILES)).round(5)
        found[species] = AttackScores(
            count=len(own.scores_M), people=len(np.unique(own.cluster_M)), quantiles=tuple(quantiles.tolist())
        )
    return ReferenceAttacks(scored_by=scored_by, photo=found)
