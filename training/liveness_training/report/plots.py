"""The plots of a run's report, as data URIs of SVG or PNG, so that the page needs no other file; and Figure 4."""

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import cycle, islice, product
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter
from scipy.stats import norm
from sklearn.metrics import roc_curve

from liveness_core.types import Picture
from liveness_training.evaluation.metrics import Scored
from liveness_training.report.features import FeatureSample

# Okabe & Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "D", "P", "X", "v", "^", "p")
_DET_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)


def roc(curves: Mapping[str, Scored]) -> str:
    """ROC: attacks that pass against bona fide presentations that pass."""
    figure, axes = _square()
    for colour, (name, scored) in zip(_colours(len(curves)), curves.items(), strict=True):
        passed, accepted, _ = roc_curve(scored.live_M, scored.scores_M)
        axes.plot(100 * passed, 100 * accepted, color=colour, label=name)
    axes.plot([0, 100], [0, 100], color="grey", linewidth=0.7, linestyle=":")
    axes.set(xlabel="attacks that pass, %", ylabel="bona fide that pass, %", xlim=(0, 100), ylim=(0, 100))
    return _svg(figure, axes)


def det(curves: Mapping[str, Scored]) -> str:
    """DET: attacks that pass against BPCER, both axes as deviates of a normal distribution (ISO/IEC 19795-1)."""
    figure, axes = _square()
    for colour, (name, scored) in zip(_colours(len(curves)), curves.items(), strict=True):
        passed, accepted, _ = roc_curve(scored.live_M, scored.scores_M)
        x, y = (norm.ppf(np.clip(rate, _DET_TICKS[0], 0.7)) for rate in (passed, 1 - accepted))
        axes.plot(x, y, color=colour, label=name)
    ends = norm.ppf([_DET_TICKS[0], 0.7])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([float(norm.ppf(tick)) for tick in _DET_TICKS]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * norm.cdf(value):.3g}"))
    axes.set(xlabel="attacks that pass, %", ylabel="BPCER, %", xlim=ends, ylim=ends)
    return _svg(figure, axes)


def histogram(scored: Scored, thresholds: Mapping[str, float]) -> str:
    """Histogram of the scores of each species, with thresholds as vertical lines."""
    figure, axes = _wide()
    bins = [float(edge) for edge in np.linspace(0, 1, 41)]
    species = sorted(np.unique(scored.species_M).tolist(), key=lambda name: (name != "live", name))
    for colour, name in zip(_colours(len(species)), species, strict=True):
        values = scored.scores_M[scored.species_M == name]
        weights = np.full(len(values), 100 / max(len(values), 1))
        axes.hist(values, bins, weights=weights, histtype="step", linewidth=1.6, color=colour, label=name)
    for style, (name, value) in zip(("--", ":", "-."), thresholds.items(), strict=False):
        axes.axvline(value, color="black", linewidth=1, linestyle=style, label=f"threshold: {name}")
    axes.set(xlabel="score (probability of live)", ylabel="share of the species, %", xlim=(0, 1))
    return _svg(figure, axes)


def losses(lines: Sequence[Mapping[str, Any]]) -> str:
    """The losses in a run's log over the iterations."""
    figure, axes = _wide()
    names = sorted({name for line in lines for name in line if "accuracy" not in name} - {"step", "lr", "images_per_s"})
    for colour, name in zip(_colours(len(names)), names, strict=True):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=name)
    axes.set(xlabel="iteration", ylabel="loss, mean over the batch")
    return _svg(figure, axes)


def features(sample: FeatureSample) -> str:
    """t-SNE of embeddings: sources alone, and sources with the target."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _embeddings(left, sample, "sources", with_target=False)
    _embeddings(right, sample, "sources and target", with_target=True)
    _legend(figure, (sample,))
    return _uri(_png(figure))


def figure_4(baseline: FeatureSample, full: FeatureSample) -> bytes:
    """The paper's Figure 4 as a PNG: (a) the baseline, (b) the full model's sources, (c) these with the target."""
    figure = Figure(figsize=(15, 5.6), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _embeddings(first, baseline, "(a) baseline: sources and target", with_target=True)
    _embeddings(third, full, "(c) full model: sources and target", with_target=True)
    _embeddings(second, full, "(b) full model: sources", with_target=False)
    second.set(xlim=third.get_xlim(), ylim=third.get_ylim())
    _legend(figure, (baseline, full))
    return _png(figure)


def _embeddings(axes: Axes, sample: FeatureSample, title: str, *, with_target: bool) -> None:
    """A colour for each species and a marker for each domain; the target's markers are open."""
    colours, markers = _keys((sample,))
    domain_M, species_M = np.array(sample.domain_M), np.array(sample.species_M)
    for (domain, (marker, is_target)), (species, colour) in product(markers.items(), colours.items()):
        mask_M = (domain_M == domain) & (species_M == species)
        if mask_M.any() and (with_target or not is_target):
            axes.scatter(
                sample.points_M2[mask_M, 0],
                sample.points_M2[mask_M, 1],
                s=16,
                marker=marker,
                linewidths=0.8,
                facecolors="none" if is_target else colour,
                edgecolors=colour,
                alpha=0.9 if is_target else 0.7,
            )
    axes.set(title=title, xticks=[], yticks=[])


def _keys(samples: Sequence[FeatureSample]) -> tuple[dict[str, str], dict[str, tuple[str, bool]]]:
    """Species -> colour; domain -> marker and whether it is a target, sources first."""
    species = sorted({name for sample in samples for name in sample.species_M}, key=lambda name: (name != "live", name))
    targets = dict(pair for sample in samples for pair in zip(sample.domain_M, sample.target_M.tolist(), strict=True))
    domains = sorted(targets, key=lambda name: (targets[name], name))
    return (
        dict(zip(species, _colours(len(species)), strict=True)),
        {name: (marker, targets[name]) for name, marker in zip(domains, cycle(_MARKERS), strict=False)},
    )


def _legend(figure: Figure, samples: Sequence[FeatureSample]) -> None:
    colours, markers = _keys(samples)
    of_species = [Patch(color=colour, label=name) for name, colour in colours.items()]
    of_domain = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            color="black",
            markerfacecolor="none" if is_target else "black",
            label=f"{name}, {'target' if is_target else 'source'}",
        )
        for name, (marker, is_target) in markers.items()
    ]
    figure.legend(handles=of_species + of_domain, fontsize=9, frameon=False, ncols=5, loc="outside lower center")


def picture(pixels: Picture) -> str:
    """A crop as a data URI of a JPEG."""
    _, content = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def _colours(count: int) -> list[str]:
    return list(islice(cycle(_COLOURS), count))


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    return figure, axes


def _wide() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Figure, axes: Axes) -> str:
    axes.legend(fontsize=8)
    buffer = io.BytesIO()
    # Without a date and random names, so that the same run gives the same page.
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
