"""Compare rules by which the published members' calibrated log-odds become one score, on domains kept out.

    python recipes/default/combining.py DATA SCORES.npz

DATA is a folder with an index.csv, SCORES.npz is made of it by `candidates.py`. Each domain is scored by calibrations
from the others. Differences are to the mean, the rule of the bundle, with 95 % intervals from the same draws of people.
The last row takes for each domain the rule with the least mean EER of the other three.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from candidates import away, read_scores
from committee import calibration
from committee_scores import MEMBERS
from numpy.typing import NDArray

from liveness_training.evaluation.metrics import auc, eer

# N faces, M members; the reference is members 0 and 1

Rule = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_LIMIT = 8.0


def _weighted(*weights: float) -> Rule:
    share_M = np.array(weights) / sum(weights)
    return lambda y_NM: y_NM @ share_M


def _less_spread(factor: float) -> Rule:
    return lambda y_NM: y_NM.mean(1) - factor * y_NM.std(1)


def _limited(limit: float) -> Rule:
    return lambda y_NM: np.clip(y_NM, -limit, limit).mean(1)


RULES: dict[str, Rule] = {
    "mean": _weighted(1, 1, 1),
    "reference as one member": _weighted(1, 1, 2),
    "reference counts twice": _weighted(2, 2, 1),
    "median": lambda y_NM: np.median(y_NM, axis=1),
    "least": lambda y_NM: y_NM.min(1),
    "mean of mean and least": lambda y_NM: (y_NM.mean(1) + y_NM.min(1)) / 2,
    "mean of probabilities": lambda y_NM: (1 / (1 + np.exp(-y_NM))).mean(1),
    "product of probabilities": lambda y_NM: -np.logaddexp(0, -y_NM).mean(1),
    "mean less a quarter of the spread": _less_spread(0.25),
    "mean less half the spread": _less_spread(0.5),
    "mean less the spread": _less_spread(1),
    "each at most 4": _limited(4),
    "each at most 2": _limited(2),
}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "scores"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    faces = read_scores(options.data, options.scores)
    domains = sorted({*faces.domain.tolist()})
    columns = [faces.members.index(name) for name in MEMBERS]
    found = {}
    for domain in domains:
        line_M2 = calibration(faces, faces.domain != domain)
        y_NM = np.clip(faces.x_NM * line_M2[:, 0] + line_M2[:, 1], -_LIMIT, _LIMIT)[:, columns]
        for name, rule in RULES.items():
            found[name, domain] = faces.scored(rule(y_NM), faces.domain == domain)
    rates = {key: eer(one)[0] for key, one in found.items()}

    def best(domain: str) -> str:
        return min(RULES, key=lambda name: sum(rates[name, other] for other in domains if other != domain))

    chosen = {name: dict.fromkeys(domains, name) for name in RULES}
    chosen["chosen without the domain"] = {domain: best(domain) for domain in domains}
    print(f"| AUC / EER, differences | {' | '.join(domains)} | mean |\n{'| --- ' * (len(domains) + 2)}|")
    for name, rules in chosen.items():
        own = [found[rules[domain], domain] for domain in domains]
        figures = np.array([(auc(one), eer(one)[0]) for one in own])
        cells = [
            f"{100 * area:.1f} / {100 * rate:.1f} {away(found['mean', domain], one)}"
            for domain, one, (area, rate) in zip(domains, own, figures.tolist(), strict=True)
        ]
        mean = " / ".join(f"{100 * value:.2f}" for value in figures.mean(0))
        print(f"| {name} | {' | '.join(cells)} | {mean} |", flush=True)


if __name__ == "__main__":
    main()
