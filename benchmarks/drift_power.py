"""How surely the alert LivenessCameraScoresMoved notices that live scores on a camera have moved.

This is the table of docs/monitoring.md:

    python benchmarks/drift_power.py

The scores are those of the default bundle's live reference. They move down in log-odds, all by as much, until the
threshold that refused 5 % of the camera's people refuses 10, 20 or 40 %. Reference and requests are drawn 4,000 times,
counted in the service's 20 ranges, and judged by the alert's rule; beside it by the population stability index (PSI)
over 0.2, the usual rule, in the same ranges. Every draw is another person: where few people send many requests, count
people in place of requests.
"""

import json
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
DRAWS = 4000
REQUESTS = {"100 a day, 1 day": 100, "100 a day, 7 days": 700, "1,000 a day, 1 day": 1000, "1,000 a day, 7 days": 7000}
PEOPLE = (30, 100, 300)
REFUSED = (0.10, 0.20, 0.40)
PSI_LIMIT = 0.2
_NORMAL = NormalDist()

# R draws, K ranges of scores


class Scores:
    """Live scores whose shares at or below some edges are known, as numbers on a line that can be moved in log-odds."""

    def __init__(self, edges: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
        known = (shares > 0) & (shares < 1)
        self.edges = edges
        self._log_odds = np.log(edges[known] / (1 - edges[known]))
        self._probits = np.array([_NORMAL.inv_cdf(share) for share in shares[known]])

    def at_or_below(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shares at or below some log-odds; straight in probits between the edges, and beyond them."""
        x, z = self._log_odds, self._probits
        probits = np.interp(log_odds, x, z)
        probits = np.where(log_odds < x[0], z[0] + (log_odds - x[0]) * (z[1] - z[0]) / (x[1] - x[0]), probits)
        probits = np.where(log_odds > x[-1], z[-1] + (log_odds - x[-1]) * (z[-1] - z[-2]) / (x[-1] - x[-2]), probits)
        return np.array([_NORMAL.cdf(probit) for probit in np.ravel(probits)])

    def ranges(self, down: float) -> NDArray[np.float64]:
        """Shares of the K ranges between the edges when all scores have moved down by some log-odds."""
        below = self.at_or_below(np.log(self.edges / (1 - self.edges)) + down)
        return np.diff(np.concatenate([[0.0], below, [1.0]])).clip(0)

    def move(self, refused: float, before: float = 0.05) -> float:
        """How far the scores must move down for the threshold that refused `before` to refuse `refused`."""
        grid = np.linspace(-12, 12, 24_001)
        below = self.at_or_below(grid)
        return float(grid[np.searchsorted(below, refused)] - grid[np.searchsorted(below, before)])


def rule() -> tuple[float, float]:
    """The alert's two limits, from its expression: the least distance, and the least of it scaled by the counts."""
    rules = (ROOT / "docker/prometheus/rules/alerts.yml").read_text(encoding="utf-8")
    alert = rules[rules.index("alert: LivenessCameraScoresMoved") :]
    distance = re.search(r"distance_from_reference\S* > ([\d.]+)", alert)
    scaled = re.search(r"scaled_distance_from_reference\S* > ([\d.]+)", alert)
    assert distance is not None
    assert scaled is not None
    return float(distance[1]), float(scaled[1])


def alarms(
    reference: NDArray[np.float64], now: NDArray[np.float64], people: int, requests: int, limits: tuple[float, float]
) -> tuple[float, float]:
    """Shares of the draws in which the alert's rule holds, and in which the PSI is over its limit."""
    random = np.random.default_rng(0)
    then_RK = random.multinomial(people, reference / reference.sum(), DRAWS) / people
    now_RK = random.multinomial(requests, now / now.sum(), DRAWS) / requests
    distance_R = np.abs((now_RK - then_RK).cumsum(1)).max(1)
    scaled_R = distance_R * np.sqrt(people * requests / (people + requests))
    a, b = (now_RK + 0.5 / requests), (then_RK + 0.5 / people)  # as half a score in each range: PSI divides by shares
    a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
    psi_R = ((a - b) * np.log(a / b)).sum(1)
    moved = (distance_R > limits[0]) & (scaled_R > limits[1])
    return float(moved.mean()), float((psi_R > PSI_LIMIT).mean())


def table() -> str:
    """The table in Markdown; every figure is a share of the draws in percent."""
    manifest = json.loads((ROOT / "models/default/bundle.json").read_text(encoding="utf-8"))
    shares = np.array(manifest["reference_scores"]["photo"]["live"]["shares"])
    scores, limits = Scores(np.arange(1, 20) / 20, shares), rule()
    moves = (0.0, *(scores.move(refused) for refused in REFUSED))
    columns = ["requests", "people calibrated", "false alarms", *(f"5 → {100 * refused:.0f} %" for refused in REFUSED)]
    columns += ["PSI: false alarms", "PSI: 5 → 20 %"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for name, requests in REQUESTS.items():
        for people in PEOPLE:
            found = [alarms(scores.ranges(0), scores.ranges(move), people, requests, limits) for move in moves]
            own, psi = zip(*found, strict=True)
            cells = [f"{100 * share:.1f}" for share in (own[0],)] + [f"{100 * share:.0f}" for share in own[1:]]
            lines.append(f"| {name} | {people} | {' | '.join(cells)} | {100 * psi[0]:.0f} | {100 * psi[2]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
