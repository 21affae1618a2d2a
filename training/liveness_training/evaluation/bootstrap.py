"""Confidence intervals by the bootstrap over people: their pictures are not independent of each other."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from liveness_training.evaluation.metrics import Scored

# M presentations, C clusters, R replicates, U different scores

REPLICATES = 1000
_LEVEL = 0.95
_AT_ONCE = 100


def intervals(
    scored: Scored, threshold: float | None, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Figure -> its 95 % percentile interval (low, high).

    As many clusters are drawn as there are, with replacement, and separately among clusters with bona fide
    presentations alone, with attacks alone, and with both; so every replicate has both labels. A threshold is not
    chosen anew, since it comes from other data; `eer` and `hter_idealised`, whose threshold comes from these data,
    choose it in each replicate.

    Args:
        scored: scores of both labels.
        threshold: threshold of `hter_realistic`, `apcer`, `bpcer` and `acer`; None leaves them out.
        replicates: R, the number of replicates.
        seed: seed of the draw.
    """
    return {name: _interval(values_R) for name, values_R in _replicates(scored, threshold, replicates, seed).items()}


def differences(
    first: Scored, second: Scored, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Figure -> 95 % interval (low, high) of the second scorer's minus the first's, on the same presentations.

    Both are measured on the same replicates, so that what makes a draw easy or hard for both cancels out. Figures and
    replicates are those of `intervals` without a threshold.

    Raises:
        ValueError: the two are not scores of the same presentations.
    """
    for name in ("live_M", "species_M", "cluster_M"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ValueError(f"{name}: the two scorers did not score the same presentations")
    before, after = (_replicates(scored, None, replicates, seed) for scored in (first, second))
    return {name: _interval(after[name] - values_R) for name, values_R in before.items()}


def _replicates(scored: Scored, threshold: float | None, replicates: int, seed: int) -> dict[str, NDArray[np.float64]]:
    samples: dict[str, list[NDArray[np.float64]]] = {}
    for weight_RM in _weights(scored, replicates, np.random.default_rng(seed)):
        for name, values_R in _figures(scored, threshold, weight_RM).items():
            samples.setdefault(name, []).append(values_R)
    return {name: np.concatenate(parts) for name, parts in samples.items()}


def _interval(values_R: NDArray[np.float64]) -> tuple[float, float]:
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(values_R, [tail, 100 - tail])
    return float(low), float(high)


def _weights(scored: Scored, replicates: int, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each presentation is in each replicate, (R, M), some replicates at a time."""
    names_C, cluster_M = np.unique(scored.cluster_M, return_inverse=True)
    has_live_C = np.bincount(cluster_M, scored.live_M, len(names_C)) > 0
    has_attack_C = np.bincount(cluster_M, ~scored.live_M, len(names_C)) > 0
    strata = [np.flatnonzero((2 * has_live_C + has_attack_C) == kind) for kind in (1, 2, 3)]
    for start in range(0, replicates, _AT_ONCE):
        count = min(_AT_ONCE, replicates - start)
        weight_RC = np.zeros((count, len(names_C)))
        for members in strata:
            if len(members):
                chances = np.full(len(members), 1 / len(members))
                weight_RC[:, members] = random.multinomial(len(members), chances, size=count)
        yield weight_RC[:, cluster_M]


def _figures(scored: Scored, threshold: float | None, weight_RM: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    live_M = scored.live_M
    live_R, attacks_R = weight_RM[:, live_M].sum(1), weight_RM[:, ~live_M].sum(1)
    order = np.argsort(-scored.scores_M, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scored.scores_M[order]) != 0])
    sorted_RM = weight_RM[:, order]
    # Shares that pass at each different score as threshold, from the highest down; ties pass together.
    live_RU = np.add.reduceat(sorted_RM * live_M[order], starts, axis=1).cumsum(1) / live_R[:, None]
    attack_RU = np.add.reduceat(sorted_RM * ~live_M[order], starts, axis=1).cumsum(1) / attacks_R[:, None]
    zero_R1 = np.zeros((len(weight_RM), 1))
    live_RU, attack_RU = np.hstack([zero_R1, live_RU]), np.hstack([zero_R1, attack_RU])
    area_R = (np.diff(attack_RU, axis=1) * (live_RU[:, 1:] + live_RU[:, :-1]) / 2).sum(1)
    nearest_R1 = np.abs(attack_RU - (1 - live_RU)).argmin(1)[:, None]
    passed_R, rejected_R = (
        np.take_along_axis(rates_RU, nearest_R1, axis=1)[:, 0] for rates_RU in (attack_RU, 1 - live_RU)
    )
    equal_R = (passed_R + rejected_R) / 2
    figures = {"auc": area_R, "eer": equal_R, "hter_idealised": equal_R}
    if threshold is None:
        return figures
    above_M = scored.scores_M >= threshold
    bpcer_R = weight_RM[:, live_M & ~above_M].sum(1) / live_R
    all_pass_R = weight_RM[:, ~live_M & above_M].sum(1) / attacks_R
    worst_R = np.zeros(len(weight_RM))
    for species in np.unique(scored.species_M[~live_M]):
        of_species_M = ~live_M & (scored.species_M == species)
        total_R = weight_RM[:, of_species_M].sum(1)
        # A species may be missing from a replicate; its rate counts as 0 there.
        rate_R = weight_RM[:, of_species_M & above_M].sum(1) / np.maximum(total_R, 1)
        worst_R = np.maximum(worst_R, rate_R)
    return figures | {
        "bpcer": bpcer_R,
        "apcer": worst_R,
        "acer": (worst_R + bpcer_R) / 2,
        "hter_realistic": (bpcer_R + all_pass_R) / 2,
    }
