"""The figures of a run, by part of the data and level."""

from collections.abc import Iterator, Mapping, Sequence

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Part, Protocol
from liveness_training.evaluation.bootstrap import REPLICATES, intervals
from liveness_training.evaluation.levels import LEVELS, Presentation, presentations, scored
from liveness_training.evaluation.metrics import (
    Scored,
    acer,
    apcer,
    apcer_by_species,
    auc,
    bpcer,
    bpcer_at_apcer,
    eer,
    hter,
    source_eer_threshold,
)

Report = Mapping[str, Mapping[str, float]]
"""Part of a protocol -> figure -> value, rates in [0, 1]. `@video` or `@clip` ends a part that is not by frames."""


def scored_rows(scores: Mapping[int, float], crops: CropSet, rows: Sequence[int]) -> Scored:
    """The scores of some rows of a crop set, with their labels."""
    return scored(presentations("frame", crops, rows, (), scores, {}))


def figures(found: Sequence[Presentation], threshold: float | None, replicates: int = REPLICATES) -> dict[str, float]:
    """The figures of some presentations.

    Args:
        found: the presentations; those with a score must have both labels.
        threshold: threshold chosen on development data (`realistic`), never on these; None leaves out the figures that
            need one.
        replicates: replicates of the bootstrap; 0 for no intervals.
    """
    test = scored(found)
    rate, own_threshold = eer(test)
    live = [presentation.score is None for presentation in found if presentation.sample.live]
    attacks = [presentation.score is None for presentation in found if not presentation.sample.live]
    values = {
        "presentations": float(len(test.scores_M)),
        "auc": auc(test),
        "eer": rate,
        # Threshold from the test set itself, as most published cross-domain tables have it.
        "hter_idealised": hter(test, own_threshold),
        "threshold_idealised": own_threshold,
        **{f"bpcer_at_apcer{limit}": bpcer_at_apcer(test, limit / 100) for limit in (10, 5, 1)},
        "bpnrr": sum(live) / len(live),
        "apnrr": sum(attacks) / len(attacks),
    }
    if threshold is not None:
        values |= {
            "hter_realistic": hter(test, threshold),
            "acer": acer(test, threshold),
            "apcer": apcer(test, threshold),
            "bpcer": bpcer(test, threshold),
            "threshold": threshold,
            **{f"apcer/{species}": rate for species, rate in apcer_by_species(test, threshold).items()},
        }
    if replicates:
        for name, (low, high) in intervals(test, threshold, replicates=replicates).items():
            values |= {f"{name}_low": low, f"{name}_high": high}
    return values


def run_report(
    scores: Mapping[int, float],
    crops: CropSet,
    protocol: Protocol,
    threshold: float | None = None,
    *,
    clip_scores: Mapping[Clip, float] | None = None,
    replicates: int = REPLICATES,
) -> dict[str, dict[str, float]]:
    """Figures of every part that the protocol reports on, for frames, recordings (`@video`) and clips (`@clip`).

    The threshold of a level is where the error rates of development people are equal at that level, each source
    counting the same (`source_eer_threshold`). A part or a level without both labels has no figures; recordings are
    left out where none has more than one frame.

    Args:
        scores: row of the crop set -> score, at least for `protocol.evaluated`.
        crops: the crops.
        protocol: who is reported on.
        threshold: threshold of frames; None takes the one where development people's rates are equal.
        clip_scores: scores of the clips of every part; None for a run without a temporal head.
        replicates: replicates of the bootstrap.
    """
    clips = clip_scores or {}
    thresholds: dict[str, float | None] = {}
    for level in LEVELS:
        dev = scored(presentations(level, crops, protocol.dev, (), scores, clips))
        thresholds[level] = source_eer_threshold(dev) if dev.has_both else None
    if threshold is not None:
        thresholds["frame"] = threshold
    return {
        _key(name, level): figures(found, thresholds[level], replicates)
        for name, part in protocol.reports.items()
        for level, found in _levels(part, crops, scores, clips)
    }


def development_report(
    scores: Mapping[int, float],
    crops: CropSet,
    protocol: Protocol,
    *,
    clip_scores: Mapping[Clip, float] | None = None,
) -> dict[str, dict[str, float]]:
    """AUC and EER of the sources' development people, `dev` and `dev/DOMAIN`, at every level: what was learned at all.

    Thresholds are chosen on these people, so error rates at a threshold are not given; nor are non-responses.

    Args:
        scores: row of the crop set -> score, at least for `protocol.dev`.
        crops: the crops.
        protocol: who the development people are.
        clip_scores: scores of their clips; None for a run without a temporal head.
    """
    parts = {"dev": protocol.dev}
    for row in protocol.dev:
        name = f"dev/{crops.samples[row].domain}"
        parts[name] = (*parts.get(name, ()), row)
    report = {}
    for name, rows in sorted(parts.items()):
        for level, found in _levels(Part(rows, ()), crops, scores, clip_scores or {}):
            judged = scored(found)
            report[_key(name, level)] = {
                "presentations": float(len(judged.scores_M)),
                "auc": auc(judged),
                "eer": eer(judged)[0],
            }
    return report


def _levels(
    part: Part, crops: CropSet, scores: Mapping[int, float], clips: Mapping[Clip, float]
) -> Iterator[tuple[str, list[Presentation]]]:
    """The levels at which a part has figures: those with both labels, without which there are no error rates."""
    frames = [*(crops.samples[row] for row in part.rows), *part.missed]
    several = len({sample.recording for sample in frames}) < len(frames)
    for level in LEVELS:
        if (level == "video" and not several) or (level == "clip" and not clips):
            continue
        found = presentations(level, crops, part.rows, part.missed, scores, clips)
        if scored(found).has_both:
            yield level, found


def _key(name: str, level: str) -> str:
    return name if level == "frame" else f"{name}@{level}"


def as_table(report: Report) -> str:
    """The report as a table in text, rates in percent, with the intervals of AUC and HTER."""
    width = max([len("protocol"), *(len(name) for name in report)])
    with_interval = ("auc", "hter_realistic", "hter_idealised")
    plain = ("eer", "acer", "apcer", "bpcer", "apnrr", "bpnrr")
    header = [f"{'protocol':{width}} {'count':>6}", *(f"{name:>19}" for name in with_interval)]
    lines = [" ".join([*header, *(f"{name:>6}" for name in plain)])]
    for name, values in report.items():
        count = values.get("presentations", values.get("images", 0))
        cells = [f"{name:{width}} {count:6.0f}", *(f"{_interval(values, key):>19}" for key in with_interval)]
        lines.append(" ".join([*cells, *(f"{_percent(values, key):>6}" for key in plain)]))
    return "\n".join(lines)


def _interval(values: Mapping[str, float], name: str) -> str:
    if f"{name}_low" not in values:
        return _percent(values, name)
    return f"{_percent(values, name)} [{100 * values[f'{name}_low']:.1f}–{100 * values[f'{name}_high']:.1f}]"


def _percent(values: Mapping[str, float], name: str) -> str:
    return f"{100 * values[name]:.2f}" if name in values else "–"
