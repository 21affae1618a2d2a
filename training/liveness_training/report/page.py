"""`report.html`: one page that shows everything about a run."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from liveness_training.config import TrainConfig
from liveness_training.data.crops import CropSet
from liveness_training.data.split_crops import SplitCrops
from liveness_training.evaluation.levels import LEVELS, scored
from liveness_training.evaluation.metrics import (
    Scored,
    acer,
    apcer,
    apcer_by_species,
    bpcer,
    eer,
    hter,
    source_eer_threshold,
    threshold_at_apcer,
)
from liveness_training.evaluation.score_file import ScoreRow, read_scores
from liveness_training.models.network import ImageNetwork
from liveness_training.report import plots
from liveness_training.report.features import sample_features
from liveness_training.report.gradcam import panels
from liveness_training.runs.folder import LOG, SCORES, SETTINGS, RunFolder

REPORT = "report.html"
_LEVEL_NAMES = {"frame": "frames", "video": "recordings, by the mean of their frames", "clip": "clips, by the LSTM"}
_LIMITS = (10, 5, 1)


def report_run(run: RunFolder, crops: CropSet) -> Path:
    """Write the page into the run's folder; its pictures are part of it, and it requests nothing from anywhere.

    Args:
        run: a run that has ended.
        crops: the crops of the run, for features and activation maps.

    Raises:
        RunError: the run has not ended.
        TrainingError: its scores are missing.
    """
    rows = read_scores(run.path / SCORES)
    by_level = {level: _by_part(rows, level) for level in LEVELS}
    metrics = run.metrics()
    data, network = run.split(crops), run.network()
    features = sample_features(network, data)
    environment = Environment(
        loader=PackageLoader("liveness_training.report"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        name=run.path.name,
        settings=_settings(run),
        metrics=metrics,
        levels=[_level(level, parts) for level, parts in by_level.items() if len(parts) > ("dev" in parts)],
        has_clips=run.config.lstm,
        losses=_losses(run.path / LOG),
        features=None if features is None else plots.features(features),
        has_target=bool(run.config.hold_out),
        panels=_panels(network, data, rows),
    )
    path = run.path / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def _by_part(rows: Sequence[ScoreRow], level: str) -> dict[str, Scored]:
    """Part -> scores, for the parts with both labels."""
    parts = defaultdict(list)
    for row in rows:
        if row.level == level:
            parts[row.part].append(row.presentation)
    found = {name: scored(presentations) for name, presentations in parts.items()}
    return {name: scores for name, scores in found.items() if scores.has_both}


def _settings(run: RunFolder) -> list[tuple[str, str]]:
    """Title and text of each line about the run; of its settings only those that differ from the defaults."""
    settings = json.loads((run.path / SETTINGS).read_text())
    defaults = TrainConfig()
    changed = {name: value for name, value in run.config.model_dump().items() if value != getattr(defaults, name)} | {
        "seed": run.config.seed
    }
    return [
        ("data", ", ".join(run.data) or "not recorded"),
        ("held out", ", ".join(run.config.hold_out) or "nothing"),
        ("encoder", f"{run.config.encoder}, from {settings.get('init') or 'random weights'}"),
        ("crops", f"{run.preprocess.size} px, margin {run.preprocess.margin:g}, faces found by {run.detector.name}"),
        ("settings that are not the default", ", ".join(f"{name}={value}" for name, value in changed.items())),
        ("commit", run.git_commit),
        ("libraries", ", ".join(f"{name} {version}" for name, version in settings["libraries"].items())),
        ("machine", ", ".join(f"{name}: {value}" for name, value in settings["machine"].items())),
    ]


def _level(level: str, parts: Mapping[str, Scored]) -> dict[str, Any]:
    """The curves, histograms and threshold tables of one level."""
    dev = parts.get("dev")
    chosen: dict[str, float] = {}
    if dev is not None:
        limits = {f"apcer{limit}": threshold_at_apcer(dev, limit / 100) for limit in _LIMITS}
        chosen = {"eer": source_eer_threshold(dev), **limits}
    reported = {name: scores for name, scores in parts.items() if name != "dev"}
    details = []
    for name, scores in parts.items():
        shown = {"eer of dev": chosen["eer"]} if chosen else {}
        table = [_at(scores, title, threshold) for title, threshold in chosen.items()]
        if name != "dev":
            own = eer(scores)[1]
            shown["own eer, idealised"] = own
            table.append(_at(scores, "own EER (idealised: chosen on these data)", own))
        details.append(
            {
                "name": "dev (thresholds are chosen here)" if name == "dev" else name,
                "species": list(apcer_by_species(scores, 0.5)),
                "histogram": plots.histogram(scores, shown),
                "table": table,
            }
        )
    return {
        "title": _LEVEL_NAMES[level],
        "roc": plots.roc(reported),
        "det": plots.det(reported),
        "parts": details,
        "without_dev": not chosen,
    }


def _at(scores: Scored, title: str, threshold: float) -> dict[str, Any]:
    return {
        "title": title,
        "threshold": threshold,
        "species": list(apcer_by_species(scores, threshold).values()),
        "apcer": apcer(scores, threshold),
        "bpcer": bpcer(scores, threshold),
        "acer": acer(scores, threshold),
        "hter": hter(scores, threshold),
    }


def _losses(path: Path) -> str | None:
    if not path.exists():
        return None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return plots.losses(lines) if lines else None


def _panels(network: ImageNetwork, data: SplitCrops, rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """Activation maps of the held-out domain, or of test people where there is none."""
    dev = _by_part(rows, "frame").get("dev")
    names = [name for name in data.protocol.reports if name.startswith("held_out/")] or ["test"]
    part = data.protocol.reports.get(names[0])
    if part is None or dev is None:
        return []
    scores = {row.presentation.name: row.presentation.score for row in rows if row.level == "frame"}
    known = {row: score for row in part.rows if (score := scores.get(data.crops.samples[row].key)) is not None}
    found = panels(network, data, list(known), known, source_eer_threshold(dev))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for panel in found:
        groups[panel.species].append(
            {
                "crop": plots.picture(panel.crop),
                "overlaid": plots.picture(panel.overlaid),
                "score": panel.score,
                "right": panel.right,
            }
        )
    return [{"species": species, "panels": members} for species, members in groups.items()]
