"""A run: crops in, a folder with weights, settings, log and figures out."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.split_crops import SplitCrops
from liveness_training.data.teacher import Teacher
from liveness_training.evaluation.figures import Report, development_report, run_report
from liveness_training.evaluation.score_file import write_scores
from liveness_training.evaluation.scoring import embed, score_clips, score_frames
from liveness_training.loop import checkpoint
from liveness_training.loop.distributed import World, joined, with_global_batch_norms
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.models.init import load_initial_weights
from liveness_training.models.network import channels_last, create_encoder
from liveness_training.runs.folder import CHECKPOINTS, METRICS, SCORES, WEIGHTS, RunError, RunFolder, protocol_of
from liveness_training.runs.plan import RunPlan
from liveness_training.runs.refit import refit_to_grey
from liveness_training.runs.streams import Stream, loaded, streams_of
from liveness_training.tasks.method import LivenessTask

_INIT_IMAGES = 96
"""Pictures that folded weights are unfolded on."""


def train(crops: CropSet, plan: RunPlan) -> Report:
    """Train, evaluate, and write the run's folder; returns its figures.

    Under torchrun every process calls it with the same arguments; the first process writes, the others return nothing.

    Args:
        crops: what is trained and reported on.
        plan: settings, start and folder of the run.

    Raises:
        RunError: the folder holds a run and `resume` is not set, or that run has other settings.
        TrainingError: the data, the weights or the device do not fit the settings.
    """
    teacher = plan.checked_teacher()
    with joined(plan.config.device) as world:
        refuse_to_share(plan.config, world)
        # All that can be wrong with data and weights shows before the run has a folder.
        torch.manual_seed(plan.config.seed)
        data = SplitCrops(crops, protocol_of(plan.config, crops), plan.preprocess)
        streams = streams_of(data, plan.config)
        task = _initial_task(data, plan.config, plan.init)
        if world.first:
            plan.claim_folder(teacher)
        if not (plan.resume and (plan.folder / WEIGHTS).exists()):  # else it was trained to the end
            trained = _fit(task, streams, data, teacher, plan, world)
            if world.first:
                _save(trained, data, plan)
        return evaluate(RunFolder.read(plan.folder), crops, world.device) if world.first else {}


def refuse_to_share(config: TrainConfig, world: World) -> None:
    """Refuse several processes where each would need the whole batch.

    Raises:
        RunError: there are several, and a setting that looks at whole batches is in use.
    """
    if world.size > 1 and (names := config.of_one_process):
        raise RunError(
            f"{', '.join(names)}: {world.size} processes cannot share a batch that is looked at whole: start one"
        )


def _fit(
    task: LivenessTask,
    streams: Mapping[str, Stream],
    data: SplitCrops,
    teacher: Teacher | None,
    plan: RunPlan,
    world: World,
) -> LivenessTask:
    """Train to the last iteration, from the latest checkpoint of a resumed run; returns the averaged networks."""
    trainer = Trainer(with_global_batch_norms(task, world), plan.config, world)
    checkpoints = plan.folder / CHECKPOINTS
    if plan.resume and (state := checkpoint.latest(checkpoints)) is not None:
        trainer.load_state_dict(state)
    batches = loaded(streams, data, plan.config, teacher, trainer.step, world)
    folder = plan.folder if world.first else None
    with Progress(folder, plan.config.steps, trainer.step, plan.log_every) as progress:
        trainer.fit(batches, progress, checkpoints)
    return trainer.average.module


def _save(trained: LivenessTask, data: SplitCrops, plan: RunPlan) -> None:
    """Write the weights, the classifier refit to grey pictures where the settings ask for it; drop the checkpoints."""
    network = trained.scoring_network()
    if plan.config.grey_weight:
        network.classifier = refit_to_grey(network, data, weight=plan.config.grey_weight, seed=plan.config.seed)
    weights: dict[str, Any] = {"network": network.state_dict()}
    if trained.distillation_head is not None:  # kept apart as well, so that another share needs no other training
        weights["classifiers"] = {
            "labels": trained.network.classifier.state_dict(),
            "marks": trained.distillation_head.state_dict(),
        }
    if trained.temporal is not None:
        weights["temporal"] = trained.temporal.state_dict()
    partial = plan.folder / f"{WEIGHTS}.partial"
    torch.save(weights, partial)
    partial.replace(plan.folder / WEIGHTS)
    shutil.rmtree(plan.folder / CHECKPOINTS, ignore_errors=True)  # three times as large each, and of no more use


def _initial_task(data: SplitCrops, config: TrainConfig, init: Path | None) -> LivenessTask:
    """The task with its initial weights, from the file of an encoder, the folder of a run, or at random."""
    encoder = create_encoder(config.encoder, config.padding)
    if init is not None and not init.is_dir():
        random = np.random.default_rng(config.seed)
        train = data.protocol.train
        some = random.choice(train, size=min(_INIT_IMAGES, len(train)), replace=False).tolist()
        load_initial_weights(encoder, init, torch.from_numpy(data.inputs(some)))
    task = channels_last(LivenessTask(encoder, len(data.protocol.sources), config))
    if init is not None and init.is_dir():
        _start_from_run(task, RunFolder.read(init), config, data.preprocess)
    elif config.frozen:
        raise RunError("frozen: --init must name the folder of the run whose encoder and classifier are kept")
    return task


def _start_from_run(task: LivenessTask, run: RunFolder, config: TrainConfig, preprocess: PreprocessSpec) -> None:
    """Take the encoder and the classifier of another run."""
    if leaked := sorted(set(config.hold_out) - set(run.config.hold_out)):
        raise RunError(f"{run.path} was trained on {', '.join(leaked)}, which this run is to hold out")
    differing = [
        name
        for name in ("people", "encoder", "padding", "feature_scale")
        if getattr(run.config, name) != getattr(config, name)
    ]
    if run.preprocess != preprocess:
        differing.append("preprocessing")
    if differing:
        raise RunError(f"{run.path} has another value of {', '.join(differing)} than this run")
    task.network.load_state_dict(run.network().state_dict())


def evaluate(run: RunFolder, crops: CropSet, device: torch.device | None = None) -> Report:
    """Write and return the figures of a run, `metrics.json`, and the scores behind them, `scores.csv`."""
    protocol = run.protocol(crops)
    network = run.network().to(device)
    rows = protocol.evaluated
    embeddings = embed(network, crops, rows, run.preprocess)
    scores = score_frames(network, embeddings)
    clip_scores: dict[Clip, float] | None = None
    if (head := run.temporal()) is not None:
        # Clips are made part by part, so that none has frames of two parts.
        parts = [protocol.dev, *(part.rows for part in protocol.reports.values())]
        clips = {clip: None for part in parts for clip in run.clips(crops, part)}
        clip_scores = score_clips(head.to(device), embeddings, list(clips))
    report = {
        **run_report(scores, crops, protocol, clip_scores=clip_scores),
        **development_report(scores, crops, protocol, clip_scores=clip_scores),
    }
    write_scores(run.path / SCORES, scores, crops, protocol, clip_scores)
    (run.path / METRICS).write_text(json.dumps(report, indent=2) + "\n")
    return report
