"""The charts of a report: histograms, error rates against the threshold, DET and ROC."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from liveness_core.bundle import Manifest
from liveness_service.calibration.charts import Chart, percents, plain
from liveness_service.calibration.curves import Curves, curves
from liveness_service.calibration.expectation import expected_apcer
from liveness_service.calibration.faces import Scores
from liveness_service.calibration.intervals import rate_interval
from liveness_service.calibration.outcome import Labelled, Part

_BINS = 40
_STEPS = 100
_SCORES = plain(0, 0.2, 0.4, 0.6, 0.8, 1)
_SHARES = percents(0, 0.2, 0.4, 0.6, 0.8, 1)
_DET = percents(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
_MOST_POINTS = 400


def charts(part: Part, manifest: Manifest, name: str) -> list[tuple[str, str]]:
    """Heading and SVG of each chart."""
    found = [
        ("Where the scores lie", _histogram(part, name)),
        ("What each threshold costs", _rates(part, manifest, name)),
    ]
    if isinstance(part.found, Labelled):
        curve = curves(part.scores)
        found += [("DET curve", _det(curve, part.found)), (f"ROC curve, area {curve.auc:.4f}", _roc(curve, part.found))]
    return found


def _histogram(part: Part, name: str) -> str:
    scores = part.scores
    bars = {"live people": _shares(scores.live)} | {one: _shares(scores.of_species(one)) for one in scores.species}
    # Most people are at the ends; the root shows those between, who decide about thresholds.
    chart = Chart(
        "How many people have which score",
        "score (probability of live)",
        "people",
        _SCORES,
        percents(0, 0.02, 0.1, 0.25, 0.5, 1),
        y_scale=sqrt,
    )
    for colour, (label, shares) in enumerate(bars.items()):
        edges = np.linspace(0, 1, _BINS + 1)
        outline = [(float(edge), float(share)) for k, share in enumerate(shares) for edge in edges[k : k + 2]]
        if colour == 0:
            chart.area([(0.0, 0.0), *outline, (1.0, 0.0)], colour)
        chart.line(outline, colour, label)
    _marks(chart, part, name)
    return chart.svg()


def _rates(part: Part, manifest: Manifest, name: str) -> str:
    scores, grid = part.scores, np.linspace(0, 1, _STEPS + 1).tolist()
    chart = Chart(
        "Error rates against the threshold",
        "threshold (areas: 95 % confidence)",
        "people refused, attacks that pass",
        _SCORES,
        _SHARES,
    )
    _rate_line(chart, grid, [scores.live.below(at) for at in grid], scores.live.people, 0, "live people refused")
    if scores.species:
        for colour, species in enumerate(scores.species, start=1):
            attacks = scores.of_species(species)
            passed = [attacks.people - attacks.below(at) for at in grid]
            _rate_line(chart, grid, passed, attacks.people, colour, f"{species} that pass")
    else:
        expected = [(at, expected_apcer(manifest, part.endpoint, at)) for at in grid]
        for colour, species in enumerate(sorted(expected[0][1].species), start=1):
            points = [(at, one.species[species]) for at, one in expected]
            chart.line(points, colour, f"{species} that pass on other cameras", dashed=True)
        if not expected[0][1].species:
            points = [(at, one.apcer) for at, one in expected]
            chart.line(points, 1, "attacks that pass on other cameras", dashed=True)
    _marks(chart, part, name)
    return chart.svg()


def _rate_line(chart: Chart, grid: list[float], errors: list[float], people: int, colour: int, name: str) -> None:
    """An error rate against the threshold, in the area where that of all people lies with 95 % confidence."""
    ends = [rate_interval(min(max(count, 0.0), people), people) for count in errors]
    upper = [(at, high) for at, (_, high) in zip(grid, ends, strict=True)]
    lower = [(at, low) for at, (low, _) in zip(grid, ends, strict=True)]
    chart.area([*upper, *reversed(lower)], colour)
    chart.line([(at, count / people) for at, count in zip(grid, errors, strict=True)], colour, name)


def _det(curve: Curves, found: Labelled) -> str:
    chart = Chart(
        "DET: attacks that pass against people refused, for every threshold",
        "APCER",
        "BPCER",
        _DET,
        _DET,
        NormalDist().inv_cdf,
        NormalDist().inv_cdf,
    )
    for colour, (species, apcer_U) in enumerate(curve.apcer_SU.items(), start=1):
        chart.line(_thinned(apcer_U, curve.bpcer_U), colour, species)
    for point in found.points:
        chart.dot(point.own_apcer, point.own_bpcer, point.name or "chosen")
    return chart.svg()


def _roc(curve: Curves, found: Labelled) -> str:
    chart = Chart(
        "ROC: live people who pass against attacks that pass, for every threshold",
        "attacks that pass",
        "live people who pass",
        _SHARES,
        _SHARES,
    )
    for colour, (species, apcer_U) in enumerate(curve.apcer_SU.items(), start=1):
        chart.line([*_thinned(apcer_U, 1 - curve.bpcer_U), (0.0, 0.0)], colour, species)
    for point in found.points:
        chart.dot(point.own_apcer, 1 - point.own_bpcer, point.name or "chosen")
    return chart.svg()


def _marks(chart: Chart, part: Part, name: str) -> None:
    lower = part.threshold < part.usual
    chart.mark(part.threshold, f"{name} {part.threshold:.3f}", chosen=True, left=lower)
    chart.mark(part.usual, f"bundle {part.usual:.3f}", chosen=False, left=not lower)


def _shares(scores: Scores) -> NDArray[np.float64]:
    """The share of people in each bin."""
    counts, _ = np.histogram(scores.score_N, _BINS, (0, 1), weights=scores.weights())
    return np.asarray(counts / counts.sum())


def _thinned(x_U: NDArray[np.float64], y_U: NDArray[np.float64]) -> list[tuple[float, float]]:
    rows = np.unique(np.linspace(0, len(x_U) - 1, min(len(x_U), _MOST_POINTS)).round().astype(int))
    return list(zip(x_U[rows].tolist(), y_U[rows].tolist(), strict=True))
