"""A table of the paper with its figures beside ours, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from liveness_training.evaluation.figures import Report
from liveness_training.runs.ablation import Results, Row, Table

_SHORT = {
    "oulu_npu": "O",
    "casia_fasd": "C",
    "replay_attack": "I",
    "msu_mfsd": "M",
    "siw": "S",
    "replay_mobile": "R",
}
_LEVELS = {"clips": "@clip", "frames": "", "mean of frames": "@video"}
_NONE = "–"

_Values = Mapping[str, float]
"""Figure -> value of one run."""


def as_markdown(table: Table, rows: Sequence[Row], results: Results) -> str:
    """The paper's table with its figures beside ours, in percent, as a Markdown table.

    Rows with a temporal head are judged by clips, the others by frames and by the mean of each recording's frames.
    Where the paper gives ACER, ours stands beside it instead of HTER, at the threshold of `hter_realistic`. Of several
    seeds it shows mean ± standard deviation (of the sample, n − 1); of one the interval of its bootstrap.

    Args:
        table: the table of the paper.
        rows: its rows to show.
        results: the reports of their runs.
    """
    lines = [
        "| components | target | level | HTER idealised | HTER realistic | AUC | AUC, sources' dev "
        "| paper: HTER | paper: AUC |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    seeds = 1
    for row in rows:
        targets = results.get(row.name, {})
        seeds = max([seeds, *(len(reports) for reports in targets.values())])
        for target, reports in targets.items():
            lines += [
                _line(row, target, level, values, is_acer=target in table.acer_of)
                for level, values in _levels(row, {target: reports})
            ]
        if len(targets) > 1 and not set(targets) & set(table.acer_of):
            lines += [_line(row, None, level, values) for level, values in _levels(row, targets)]
    lines += ["", f"{'Mean ± standard deviation' if seeds > 1 else 'AUC with its 95 % interval'}, {_runs(seeds)}."]
    if acer_of := [target for target in table.acer_of if any(target in targets for targets in results.values())]:
        lines += ["", f"The paper gives ACER instead of HTER for {', '.join(acer_of)} in this table."]
    return "\n".join(lines)


def _runs(seeds: int) -> str:
    return "one run a row and target" if seeds == 1 else f"{seeds} runs a row and target, with other seeds"


def _levels(row: Row, targets: Mapping[str, Sequence[Report]]) -> Iterator[tuple[str, list[_Values]]]:
    """The levels that all reports have, each with its values by seed: of one target, or the mean over several."""
    for level, suffix in _LEVELS.items():
        if level == "clips" and not row.settings["lstm"]:
            continue
        values = [
            [_values(report, f"held_out/{target}{suffix}", f"dev{suffix}") for report in reports]
            for target, reports in targets.items()
        ]
        if all(of_seed for of_target in values for of_seed in of_target):
            yield level, values[0] if len(values) == 1 else [_mean(same) for same in zip(*values, strict=True)]


def _values(report: Report, part: str, dev: str) -> _Values:
    if part not in report:
        return {}
    return {**report[part], **({"dev_auc": report[dev]["auc"]} if dev in report else {})}


def _mean(values: Sequence[_Values]) -> _Values:
    """Mean over targets of what all of them have; without intervals, which cannot be averaged."""
    shared = set.intersection(*(set(of_target) for of_target in values))
    return {
        key: fmean(of_target[key] for of_target in values)
        for key in sorted(shared)
        if not key.endswith(("_low", "_high"))
    }


def _line(row: Row, target: str | None, level: str, values: Sequence[_Values], *, is_acer: bool = False) -> str:
    hter, area = row.paper.get(target, (None, None)) if target is not None else (None, None)
    name = "mean of targets" if target is None else target
    short = f"{name} ({_SHORT[name]})" if name in _SHORT else name
    rates = [_percent(values, "hter_idealised"), _percent(values, "hter_realistic"), _shown(hter)]
    if is_acer:
        rates = [_NONE, f"ACER {_percent(values, 'acer')}", f"ACER {_shown(hter)}"]
    cells = [row.name, short, level, *rates[:2], _auc(values), _percent(values, "dev_auc"), rates[2], _shown(area)]
    return f"| {' | '.join(cells)} |"


def _auc(values: Sequence[_Values]) -> str:
    text = _percent(values, "auc")
    if len(values) > 1 or "auc_low" not in values[0]:
        return text
    return f"{text} ({100 * values[0]['auc_low']:.1f}–{100 * values[0]['auc_high']:.1f})"


def _percent(values: Sequence[_Values], key: str) -> str:
    if not all(key in of_seed for of_seed in values):
        return _NONE
    found = [100 * of_seed[key] for of_seed in values]
    return f"{found[0]:.2f}" if len(found) == 1 else f"{fmean(found):.1f} ± {stdev(found):.1f}"


def _shown(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}"
