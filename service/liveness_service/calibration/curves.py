"""Error rates against the threshold, every person counted the same: what ROC, DET and operating points are made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_service.calibration.faces import Scores

# U different scores, S species

_Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """Error rates with each different score as the threshold, as scikit-learn's `roc_curve` gives them, from below."""

    thresholds_U: _Rates
    """Rising. A face is live where its score is at or above the threshold."""
    bpcer_U: _Rates
    """Share of live people below the threshold."""
    apcer_SU: dict[str, _Rates]
    """For each PAI species the share of people whose attacks are at or above the threshold."""
    passed_U: _Rates
    """The same share of all attacks together, as ROC curves of the literature have it."""

    @property
    def worst(self) -> _Rates:
        """APCER: of the worst species at each threshold."""
        return np.asarray(np.max(list(self.apcer_SU.values()), axis=0))

    @property
    def auc(self) -> float:
        """Area under the ROC curve of all attacks together, 0 to 1."""
        passed = np.r_[self.passed_U, 0.0]
        accepted = np.r_[1 - self.bpcer_U, 0.0]
        return float((-np.diff(passed) * (accepted[1:] + accepted[:-1]) / 2).sum())


def curves(scores: Scores) -> Curves:
    """The error rates of these files, which must have both labels."""
    thresholds = np.unique(scores.score_N)
    live = scores.live
    return Curves(
        thresholds,
        _below(live, thresholds),
        {species: 1 - _below(scores.of_species(species), thresholds) for species in scores.species},
        1 - _below(scores.attacks, thresholds),
    )


def _below(scores: Scores, thresholds: _Rates) -> _Rates:
    """The weight of the files below each threshold, as a share of all."""
    order = np.argsort(scores.score_N, kind="stable")
    summed = np.r_[0.0, np.cumsum(scores.weights()[order])]
    count = np.searchsorted(scores.score_N[order], thresholds, side="left")
    return np.asarray(summed[count] / summed[-1])
