"""The figures of a run that has been trained."""

import json

import torch

from liveness_training.data.crops import CropSet
from liveness_training.evaluation.figures import Report, run_report
from liveness_training.evaluation.score_file import write_scores
from liveness_training.evaluation.scoring import embed, score_clips, score_frames
from liveness_training.runs.folder import METRICS, SCORES, RunFolder


def evaluate(run: RunFolder, crops: CropSet, device: torch.device | None = None) -> Report:
    """Write and return the figures of a run, `metrics.json`, and the scores behind them, `scores.csv`."""
    protocol = run.protocol(crops)
    network = run.network().to(device)
    rows = protocol.evaluated
    embeddings = embed(network, crops, rows, run.preprocess)
    scores = score_frames(network, embeddings)
    clip_scores = None
    if (head := run.temporal()) is not None:
        # Clips are made part by part, so that none has frames of two parts.
        parts = [protocol.dev, *(part.rows for part in protocol.reports.values())]
        clips = {clip: None for part in parts for clip in run.clips(crops, part)}
        clip_scores = score_clips(head.to(device), embeddings, list(clips))
    report = run_report(scores, crops, protocol, clip_scores=clip_scores)
    write_scores(run.path / SCORES, scores, crops, protocol, clip_scores)
    (run.path / METRICS).write_text(json.dumps(report, indent=2) + "\n")
    return report
