"""What the share of the teacher's classifier in the score does to the AUC of a run, without training again.

    python benchmarks/training/classifier_shares.py RUN…

RUN: a run with `distillation_share`. Labels and marks have a linear classifier each on one embedding, so every share is
a run that could have been trained; its setting is what export takes. Percent, by frames, as a Markdown table for each.
"""

import argparse
from pathlib import Path

import torch

from liveness_training.data.crops import CropSet, prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.evaluation.metrics import auc, eer
from liveness_training.evaluation.report import scored_rows
from liveness_training.evaluation.scoring import embed, score_frames
from liveness_training.models.network import LivenessClassifier
from liveness_training.run_folder import WEIGHTS, RunFolder
from liveness_training.tasks.method import mixed

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def table(run: RunFolder, crops: CropSet) -> str:
    """AUC and EER of each part that has both labels, by share."""
    protocol, network = run.protocol(crops), run.network()
    embeddings = embed(network, crops, protocol.evaluated, run.preprocess)
    stored = torch.load(run.path / WEIGHTS, map_location="cpu", weights_only=True)["classifiers"]
    heads = {name: LivenessClassifier(network.encoder.embedding_dim) for name in ("labels", "marks")}
    for name, head in heads.items():
        head.load_state_dict(stored[name])
    cells: dict[str, list[str]] = {name: [] for name in protocol.reports}
    for share in _SHARES:
        network.classifier = mixed(heads["labels"], heads["marks"], share)
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
    options = parser.parse_args()
    for path in options.runs:
        run = RunFolder.read(path)
        crops = prepare_all(
            [parse_source(each) for each in run.data],
            run.cache,
            preprocess=run.preprocess,
            detector=run.detector,
            clip=run.clip,
        )
        print(table(run, crops), flush=True)


if __name__ == "__main__":
    main()
