"""The paper's ablations (Tables 3 and 4): rows, protocols, and the paper's figures beside ours."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from liveness_training.config import TrainConfig
from liveness_training.data.clips import clips_of
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError
from liveness_training.evaluation.figures import Report

_log = logging.getLogger(__name__)

_SHORT = {
    "oulu_npu": "O",
    "casia_fasd": "C",
    "replay_attack": "I",
    "msu_mfsd": "M",
    "siw": "S",
    "replay_mobile": "R",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: one combination of components."""

    name: str
    """Name in the paper."""
    settings: Mapping[str, bool]
    """Component -> whether it is on."""
    paper: Mapping[str, tuple[float, float | None]]
    """Target -> HTER (where `Table.acer_of` names it: ACER) and AUC in percent."""

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return self.name.lower().replace(" + ", "-")


@dataclass(frozen=True, slots=True)
class Table:
    """One of the paper's ablations."""

    number: int
    protocols: Mapping[str, tuple[str, ...]]
    """Target -> sources."""
    rows: tuple[Row, ...]
    acer_of: tuple[str, ...] = ()
    """Targets for which the paper gives ACER instead of HTER."""


def _parts(**on: bool) -> dict[str, bool]:
    return {"dis": False, "dib": False, "lstm": False, "dvb": False} | on


def _figures(*values: float) -> dict[str, tuple[float, float | None]]:
    targets = ("msu_mfsd", "casia_fasd", "replay_attack", "oulu_npu")
    return dict(zip(targets, zip(values[::2], values[1::2], strict=True), strict=True))


def _rates(casia: float, replay: float, oulu: float) -> dict[str, tuple[float, float | None]]:
    return {"casia_fasd": (casia, None), "replay_attack": (replay, None), "oulu_npu": (oulu, None)}


def _others(target: str, domains: Sequence[str]) -> tuple[str, ...]:
    return tuple(domain for domain in domains if domain != target)


_OCIM = ("oulu_npu", "casia_fasd", "replay_attack", "msu_mfsd")
_SOCIR = ("siw", "oulu_npu", "casia_fasd", "replay_attack", "replay_mobile")

TABLES = {
    3: Table(
        3,
        {target: _others(target, _OCIM) for target in ("msu_mfsd", "casia_fasd", "replay_attack", "oulu_npu")},
        (
            Row("ResNet", _parts(), _figures(21.66, 89.64, 25.92, 82.16, 20.12, 90.1, 18.81, 89.53)),
            Row("ResNet + DIB", _parts(dib=True), _figures(18.33, 90.58, 21.29, 85.82, 17.63, 86.3, 17.05, 90.01)),
            Row("ResNet + LSTM", _parts(lstm=True), _figures(17.92, 90.27, 19.26, 87.85, 18.0, 89.78, 16.42, 90.82)),
            Row(
                "ResNet + LSTM + DVB",
                _parts(lstm=True, dvb=True),
                _figures(18.33, 88.25, 21.11, 88.22, 18.25, 85.61, 17.05, 91.09),
            ),
            Row(
                "ResNet + DIB + LSTM",
                _parts(dib=True, lstm=True),
                _figures(14.58, 92.58, 18.7, 89.35, 15.13, 95.76, 14.86, 93.00),
            ),
            Row(
                "ResNet + DIB + LSTM + DVB",
                _parts(dib=True, lstm=True, dvb=True),
                _figures(15.42, 91.13, 17.41, 90.12, 15.87, 91.87, 14.72, 93.08),
            ),
        ),
    ),
    4: Table(
        4,
        {target: _others(target, _SOCIR) for target in ("casia_fasd", "replay_attack", "oulu_npu")},
        (
            Row("ResNet", _parts(), _rates(17.5, 20.6, 10.27)),
            Row("ResNet + Dis", _parts(dis=True), _rates(15.3, 17.7, 8.75)),
            Row("ResNet + Dis + DIB", _parts(dis=True, dib=True), _rates(15.1, 17.0, 23.4)),
            Row("ResNet + DIB", _parts(dib=True), _rates(14.0, 14.7, 8.05)),
        ),
        acer_of=("oulu_npu",),
    ),
}


def protocols_of(table: Table, domains: Iterable[str], hold_out: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Target -> sources.

    Args:
        table: the table.
        domains: the domains of the data.
        hold_out: targets to use instead of the table's, each with all other domains as sources.

    Raises:
        DataError: the table's protocols need a domain that the data lack.
    """
    there = sorted(set(domains))
    if hold_out:
        return {target: _others(target, there) for target in hold_out}
    needed = {*table.protocols, *(source for sources in table.protocols.values() for source in sources)}
    if missing := sorted(needed - set(there)):
        raise DataError(
            f"table {table.number} of the paper needs {', '.join(missing)}, which the data lack: add them as "
            "NAME=FOLDER, or name targets of your own by --hold-out"
        )
    return dict(table.protocols)


def run_rows(
    rows: Sequence[Row],
    protocols: Mapping[str, tuple[str, ...]],
    base: TrainConfig,
    crops: CropSet,
    folder: Path,
    train: Callable[[CropSet, TrainConfig, Path], Report],
    check: Callable[[TrainConfig, Path], None] = lambda _config, _folder: None,
) -> dict[str, dict[str, Report]]:
    """Train every row on every protocol; a run that has ended already is read, not trained again.

    Rows with a temporal head skip targets that have no clips of both labels.

    Args:
        rows: the rows to train.
        protocols: target -> sources.
        base: settings that all rows share.
        crops: all domains.
        folder: folder for the runs, ROW/TARGET, and for `results.json`.
        train: makes a run in a folder, or continues one that was interrupted there.
        check: raises an error where the run that has ended in a folder has other settings: of another table, say.

    Returns:
        Row -> target -> the run's report.
    """
    results: dict[str, dict[str, Report]] = {}
    with_clips = _targets_with_clips(crops, protocols, base)
    for target, sources in protocols.items():
        for row in rows:
            if row.settings["lstm"] and target not in with_clips:
                _log.warning("%s -> %s is left out: the target has no clips of both labels", row.name, target)
                continue
            config = base.model_copy(update={**row.settings, "hold_out": (target,), "sources": sources})
            run = folder / row.slug / target
            metrics = run / "metrics.json"
            if metrics.exists():
                check(config, run)
                report = json.loads(metrics.read_text())
            else:
                report = train(crops, config, run)
            results.setdefault(row.name, {})[target] = report
            (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return results


def _targets_with_clips(crops: CropSet, protocols: Iterable[str], base: TrainConfig) -> set[str]:
    labels: dict[str, set[bool]] = {target: set() for target in protocols}
    rows = [row for row, sample in enumerate(crops.samples) if sample.domain in labels]
    for clip in clips_of(crops, rows, base.clip, base.short_clips):
        labels[clip.sample.domain].add(clip.sample.live)
    return {target for target, found in labels.items() if len(found) == 2}


def as_markdown(table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[str, Report]]) -> str:
    """The paper's table with its figures beside ours, in percent, as a Markdown table.

    Rows with a temporal head are judged by clips, the others by frames and by the mean of each recording's frames.
    Where the paper gives ACER, ours stands beside it instead of HTER, at the threshold of `hter_realistic`.
    """
    lines = [
        "| components | target | level | HTER idealised | HTER realistic | AUC (95 % interval) "
        "| paper: HTER | paper: AUC |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for target, report in results.get(row.name, {}).items():
            paper = row.paper.get(target)
            name = f"held_out/{target}"
            levels = [("clips", f"{name}@clip")] if row.settings["lstm"] else []
            levels += [("frames", name), ("mean of frames", f"{name}@video")]
            for level, key in levels:
                if key in report:
                    lines.append(_line(row, target, level, report[key], paper, is_acer=target in table.acer_of))
    if table.acer_of:
        lines.append(f"\nThe paper gives ACER instead of HTER for {', '.join(table.acer_of)} in this table.")
    return "\n".join(lines)


def _line(
    row: Row,
    target: str,
    level: str,
    values: Mapping[str, float],
    paper: tuple[float, float | None] | None,
    *,
    is_acer: bool,
) -> str:
    hter, area = paper if paper is not None else (None, None)
    interval = ""
    if "auc_low" in values:
        interval = f" ({100 * values['auc_low']:.1f}–{100 * values['auc_high']:.1f})"
    short = f"{target} ({_SHORT[target]})" if target in _SHORT else target
    rates = _percent(values, "hter_idealised"), _percent(values, "hter_realistic"), _shown(hter)
    if is_acer:
        rates = "–", f"ACER {_percent(values, 'acer')}", f"ACER {_shown(hter)}"
    return (
        f"| {row.name} | {short} | {level} | {rates[0]} | {rates[1]} | {_percent(values, 'auc')}{interval} "
        f"| {rates[2]} | {_shown(area)} |"
    )


def _percent(values: Mapping[str, float], key: str) -> str:
    return f"{100 * values[key]:.2f}" if key in values else "–"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
