"""The paper's ablations (Tables 3 and 4): their rows and protocols, the paper's figures, and our runs of them."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from liveness_training.config import TrainConfig
from liveness_training.data.clips import clips_of
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError
from liveness_training.evaluation.figures import Report

_log = logging.getLogger(__name__)

Results = dict[str, dict[str, list[Report]]]
"""Row -> target -> the reports of its runs, one for each seed."""


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
        DataError: the table's protocols, or `hold_out`, need a domain that the data lack.
    """
    there = sorted(set(domains))
    if unknown := sorted(set(hold_out) - set(there)):
        raise DataError(f"hold_out: no domain with attacks is named {unknown[0]!r}, only {', '.join(there)}")
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
    *,
    seeds: int = 1,
    results_file: str = "results.json",
) -> Results:
    """Train every row on every protocol; a run that has ended already is read, not trained again.

    Rows with a temporal head skip targets that have no clips of both labels. Seeds come one after the other, so that
    there is a whole table after each.

    Args:
        rows: the rows to train.
        protocols: target -> sources.
        base: settings that all rows share.
        crops: all domains.
        folder: folder for the runs, ROW/TARGET for the first seed and ROW/TARGET-seedN for others, and for the results.
        train: makes a run in a folder, or continues one that was interrupted there.
        check: raises an error where the run that has ended in a folder has other settings: of another table, say.
        seeds: runs of each row on each protocol, with the seeds `base.seed`, `base.seed` + 1 …
        results_file: name of the file for the reports.
    """
    results: Results = {}
    with_clips = _targets_with_clips(crops, protocols, base)
    for seed, (target, sources), row in product(range(base.seed, base.seed + seeds), protocols.items(), rows):
        if row.settings["lstm"] and target not in with_clips:
            if seed == base.seed:
                _log.warning("%s -> %s is left out: the target has no clips of both labels", row.name, target)
            continue
        own = {"hold_out": (target,), "sources": sources, "seed": seed}
        config = base.model_copy(update={**row.settings, **own})
        run = folder / row.slug / (target if seed == base.seed else f"{target}-seed{seed}")
        metrics = run / "metrics.json"
        if metrics.exists():
            check(config, run)
            report = json.loads(metrics.read_text())
        else:
            report = train(crops, config, run)
        results.setdefault(row.name, {}).setdefault(target, []).append(report)
        (folder / results_file).write_text(json.dumps(results, indent=2) + "\n")
    return results


def _targets_with_clips(crops: CropSet, protocols: Iterable[str], base: TrainConfig) -> set[str]:
    labels: dict[str, set[bool]] = {target: set() for target in protocols}
    rows = [row for row, sample in enumerate(crops.samples) if sample.domain in labels]
    for clip in clips_of(crops, rows, base.clip, base.short_clips):
        labels[clip.sample.domain].add(clip.sample.live)
    return {target for target, found in labels.items() if len(found) == 2}
