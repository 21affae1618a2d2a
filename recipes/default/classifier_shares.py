"""Show the AUC of a run for other shares of the teacher's classifier in the score, without training again.

    python recipes/default/classifier_shares.py RUN… [--keep SHARE [--grey WEIGHT]]

RUN is a run that was trained with `distillation_share`. It has two linear classifiers on one embedding: one learned the
labels, the other the marks, which are the teacher's scores. The share only mixes them after training, so any share can
still be chosen. Every run gets a Markdown table of AUC and EER by frames, in percent, that leaves `grey_weight` aside.

With --keep there is no table: the runs are changed in place to that share, and with --grey to that `grey_weight`, as if
they had been trained with them. `liveness-train evaluate RUN` then gives the new figures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from liveness_training.data.crops import CropSet
from liveness_training.evaluation.figures import scored_rows
from liveness_training.evaluation.metrics import auc, eer
from liveness_training.evaluation.scoring import embed, score_frames
from liveness_training.models.network import LivenessClassifier
from liveness_training.runs.folder import METRICS, SCORES, SETTINGS, WEIGHTS, RunFolder
from liveness_training.runs.refit import refit_to_grey
from liveness_training.tasks.energies import weighted_mean

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def _weights(run: RunFolder) -> dict[str, Any]:
    weights: dict[str, Any] = torch.load(run.path / WEIGHTS, map_location="cpu", weights_only=True)
    return weights


def classifiers(weights: dict[str, Any], embedding_dim: int) -> dict[str, LivenessClassifier]:
    """The classifier of the labels and that of the marks, by name."""
    heads = {name: LivenessClassifier(embedding_dim) for name in ("labels", "marks")}
    for name, head in heads.items():
        head.load_state_dict(weights["classifiers"][name])
    return heads


def keep(run: RunFolder, crops: CropSet, share: float, grey_weight: float) -> None:
    """Change the run to this share and this `grey_weight`, and remove its old figures."""
    weights, network = _weights(run), run.network()
    heads = classifiers(weights, network.encoder.embedding_dim)
    network.classifier = weighted_mean(heads["labels"], heads["marks"], share)
    if grey_weight:
        network.classifier = refit_to_grey(network, run.split(crops), weight=grey_weight, seed=run.config.seed)
    weights["network"] = network.state_dict()
    settings = json.loads((run.path / SETTINGS).read_text())
    settings["config"] |= {"distillation_share": share, "grey_weight": grey_weight}
    for stale in (METRICS, SCORES):  # they belong to the old share
        (run.path / stale).unlink(missing_ok=True)
    torch.save(weights, run.path / WEIGHTS)
    (run.path / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def table(run: RunFolder, crops: CropSet) -> str:
    """AUC and EER by share, as Markdown, for each part of the data that has both labels."""
    protocol, network = run.protocol(crops), run.network()
    embeddings = embed(network, crops, protocol.evaluated, run.preprocess)
    heads = classifiers(_weights(run), network.encoder.embedding_dim)
    cells: dict[str, list[str]] = {name: [] for name in protocol.reports}
    for share in _SHARES:
        network.classifier = weighted_mean(heads["labels"], heads["marks"], share)
        scores = score_frames(network, embeddings)
        for name, part in protocol.reports.items():
            found = scored_rows(scores, crops, part.rows)
            cells[name].append(f"{100 * auc(found):.1f} / {100 * eer(found)[0]:.1f}" if found.has_both else "–")
    lines = [f"| {run.path.name}, AUC / EER | {' | '.join(f'{share:g}' for share in _SHARES)} |"]
    lines.append("| --- " * (len(_SHARES) + 1) + "|")
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in cells.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--keep", type=float, metavar="SHARE")
    parser.add_argument("--grey", type=float, metavar="WEIGHT", help="the run's own weight if left out")
    options = parser.parse_args()
    for path in options.runs:
        run = RunFolder.read(path)
        crops = run.crops()
        if options.keep is None:
            print(table(run, crops), flush=True)
        else:
            keep(run, crops, options.keep, run.config.grey_weight if options.grey is None else options.grey)


if __name__ == "__main__":
    main()
