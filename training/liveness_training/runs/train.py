"""A run: crops in, a folder with weights, settings, log and figures out."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.batches import (
    BalancedBatches,
    Drawn,
    Item,
    TrainingCrops,
    clip_items,
    image_items,
    service_images,
)
from liveness_training.data.clips import clips_of
from liveness_training.data.crops import CropSet
from liveness_training.data.simulation import SIMULATIONS
from liveness_training.data.teacher import Teacher
from liveness_training.runs.environment import git_commit, libraries, machine
from liveness_training.evaluation.figures import Report, run_report
from liveness_training.evaluation.score_file import write_scores
from liveness_training.evaluation.scoring import embed, score_clips, score_frames
from liveness_training.loop import checkpoint
from liveness_training.loop.distributed import World, joined, with_global_batch_norms
from liveness_training.loop.progress import IMAGES, Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.models.init import load_initial_weights
from liveness_training.models.network import channels_last, create_encoder
from liveness_training.data.protocols import Protocol
from liveness_training.runs.folder import (
    CHECKPOINTS,
    METRICS,
    SCORES,
    SETTINGS,
    WEIGHTS,
    RunError,
    RunFolder,
    protocol_of,
)
from liveness_training.runs.refit import fitted_to_grey
from liveness_training.data.batch import Batch
from liveness_training.tasks.method import LivenessTask

_INIT_IMAGES = 96
# How a run is carried out, which may differ between a run and its continuation.
_PRACTICAL = {"device", "workers", "compile", "accumulation", "checkpoint_every"}


def train(
    crops: CropSet,
    config: TrainConfig,
    folder: Path,
    *,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    init: Path | None = None,
    teacher: Sequence[Path] = (),
    resume: bool = False,
    data: Sequence[str] = (),
    cache: Path = Path("cache"),
    log_every: int = 10,
) -> Report:
    """Train, evaluate, and write the run's folder; returns its figures.

    Under torchrun every process calls it, with the same arguments; the first one writes.

    Args:
        crops: what is trained and reported on.
        config: the settings.
        folder: of the run.
        preprocess: size, colours and scale of the crops.
        detector: which found the faces; goes into the bundle.
        init: file of an encoder's weights to start from, or the folder of a run whose encoder and classifier are
            taken; None starts from random ones.
        teacher: files of the networks that `distillation` learns from.
        resume: go on from the latest checkpoint of a run with the same settings.
        data: what `crops` come from, as the command line names it; kept so that later commands find it.
        cache: where the crops are.
        log_every: iterations between two lines of the log.

    Raises:
        RunError: the folder holds a run and `resume` is not set, or that run has other settings.
        TrainingError: the data, the weights or the device do not fit the settings.
    """
    if config.precision == "fp16" and not torch.cuda.is_available():
        raise RunError("precision is fp16, which needs a GPU: set precision=bf16 or fp32")
    if bool(teacher) != bool(config.distillation):
        raise RunError("distillation and --teacher need each other: set both or neither")
    marking = Teacher(teacher) if teacher else None
    with joined(config.device) as world:
        # All that can be wrong with data and weights shows before the run has a folder.
        torch.manual_seed(config.seed)
        protocol = protocol_of(config, crops)
        items = _items(crops, config, protocol)
        task = _task(crops, config, protocol, preprocess, init)
        if world.first:
            settings = {
                "config": config.model_dump(),
                "preprocess": preprocess.model_dump(),
                "detector": detector.model_dump(),
                "init": None if init is None else init.name,
                "teacher": marking.summary if marking is not None else [],
                "init_run": RunFolder.read(init).summary() if init is not None and init.is_dir() else None,
                "data": list(data),
                "cache": str(cache),
                "git_commit": git_commit(),
                "libraries": libraries(),
                "machine": machine(),
            }
            _claim(folder, settings, resume)
        if resume and (folder / WEIGHTS).exists():  # it was trained to the end
            return evaluate(RunFolder.read(folder), crops, world.device) if world.first else {}
        trainer = Trainer(with_global_batch_norms(task, world), config, world)
        checkpoints = folder / CHECKPOINTS
        if resume and (state := checkpoint.latest(checkpoints)) is not None:
            trainer.load_state_dict(state)
        streams = _streams(items, crops, config, protocol, preprocess, marking, trainer.step, world)
        with Progress(folder if world.first else None, config.steps, trainer.step, log_every) as progress:
            trainer.fit(streams, progress, checkpoints)
        if not world.first:
            return {}
        averaged = trainer.average.module
        network = averaged.scoring_network()
        if config.grey_weight:
            network.classifier = fitted_to_grey(
                network, crops, protocol.train, preprocess, weight=config.grey_weight, seed=config.seed
            )
        weights: dict[str, Any] = {"network": network.state_dict()}
        if averaged.distillation_head is not None:  # kept apart as well, so that another share needs no other training
            both = {"labels": averaged.network.classifier, "marks": averaged.distillation_head}
            weights["classifiers"] = {name: each.state_dict() for name, each in both.items()}
        if averaged.temporal is not None:
            weights["temporal"] = averaged.temporal.state_dict()
        partial = folder / f"{WEIGHTS}.partial"
        torch.save(weights, partial)
        partial.replace(folder / WEIGHTS)
        shutil.rmtree(checkpoints, ignore_errors=True)  # three times the weights' size each, and of no more use
        return evaluate(RunFolder.read(folder), crops, world.device)


def evaluate(run: RunFolder, crops: CropSet, device: torch.device | None = None) -> Report:
    """Write and return a run's figures: `metrics.json`, and the scores that they come from."""
    protocol = run.protocol(crops)
    network = run.network().to(device)
    rows = protocol.evaluated
    embeddings = embed(network, crops, rows, run.preprocess)
    scores = score_frames(network, embeddings)
    clip_scores = None
    if (head := run.temporal()) is not None:
        # Clips part by part, so that none has frames of two.
        parts = [protocol.dev, *(part.rows for part in protocol.reports.values())]
        clips = {clip: None for part in parts for clip in run.clips(crops, part)}
        clip_scores = score_clips(head.to(device), embeddings, list(clips))
    report = run_report(scores, crops, protocol, clip_scores=clip_scores)
    write_scores(run.path / SCORES, scores, crops, protocol, clip_scores)
    (run.path / METRICS).write_text(json.dumps(report, indent=2) + "\n")
    return report


def _claim(folder: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Make the run's folder, or find in it the run to go on with."""
    path = folder / SETTINGS
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Written first: the commit is that of the code that was started, not of what the checkout became meanwhile.
        path.write_text(json.dumps(settings, indent=2) + "\n")
        return
    if not resume:
        raise RunError(f"{folder} holds a run: --resume goes on with it; else choose another folder")
    asked, kept = (_what_decides(each) for each in (json.loads(json.dumps(settings)), json.loads(path.read_text())))
    if changed := sorted(name for name in asked if asked[name] != kept.get(name)):
        raise RunError(
            f"{folder} holds a run with another value of {', '.join(changed)}: "
            "resume it with its own settings, or choose another folder"
        )


def _what_decides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's result depends on."""
    config = {name: value for name, value in settings["config"].items() if name not in _PRACTICAL}
    return config | {name: settings.get(name) or None for name in ("preprocess", "detector", "init", "teacher")}


def _task(
    crops: CropSet, config: TrainConfig, protocol: Protocol, preprocess: PreprocessSpec, init: Path | None
) -> LivenessTask:
    encoder = create_encoder(config.encoder, config.padding)
    if init is not None and not init.is_dir():
        random = np.random.default_rng(config.seed)
        some = random.choice(protocol.train, size=min(_INIT_IMAGES, len(protocol.train)), replace=False).tolist()
        load_initial_weights(encoder, init, torch.from_numpy(preprocess.to_tensor(list(service_images(crops, some)))))
    task = channels_last(LivenessTask(encoder, len(protocol.sources), config))
    if init is not None and init.is_dir():
        _start_from_run(task, RunFolder.read(init), config, preprocess)
    elif config.frozen:
        raise RunError("frozen: --init must name the folder of the run whose encoder and classifier are kept")
    return task


def _start_from_run(task: LivenessTask, run: RunFolder, config: TrainConfig, preprocess: PreprocessSpec) -> None:
    """Take the encoder and the classifier of another run."""
    if leaked := sorted(set(config.hold_out) - set(run.config.hold_out)):
        raise RunError(f"{run.path} was trained on {', '.join(leaked)}, which this run is to hold out")
    differing = [
        name for name in ("people", "encoder", "padding") if getattr(run.config, name) != getattr(config, name)
    ]
    if run.preprocess != preprocess:
        differing.append("preprocessing")
    if differing:
        raise RunError(f"{run.path} has another value of {', '.join(differing)} than this run")
    task.network.load_state_dict(run.network().state_dict())


_Items = dict[str, tuple[Sequence[Drawn], int]]
"""Stream -> what is drawn from, and how many of each domain a batch has."""


def _items(crops: CropSet, config: TrainConfig, protocol: Protocol) -> _Items:
    items: _Items = {}
    if not config.frozen:
        simulations = tuple(SIMULATIONS) if config.simulate else ()
        items[IMAGES] = (image_items(crops, protocol.train, simulations=simulations), config.images_per_domain)
    if config.lstm:
        clips = clips_of(crops, protocol.train, config.clip, config.short_clips)
        items["clip"] = (clip_items(clips), config.clips_per_domain)
    return items


def _streams(
    items: _Items,
    crops: CropSet,
    config: TrainConfig,
    protocol: Protocol,
    preprocess: PreprocessSpec,
    teacher: Teacher | None,
    start: int,
    world: World,
) -> dict[str, Iterable[Batch]]:
    """The batches of images, and with a temporal head those of clips, from iteration `start` on."""
    # Set here and inherited: in a forked worker the call would wait for OpenCV's threads, which a fork does not copy.
    cv2.setNumThreads(1)
    dataset = TrainingCrops(
        crops,
        preprocess,
        protocol.sources,
        seed=config.seed,
        service_view_share=config.service_view_share,
        augmentation=config.augmentation,
        grey_share=config.grey_share,
        teacher=teacher,
    )
    streams: dict[str, Iterable[Batch]] = {}
    for place, (name, (stream, per_domain)) in enumerate(items.items()):
        sampler = BalancedBatches(
            stream,
            per_domain=per_domain,
            steps=config.steps,
            seed=config.seed,
            start=start,
            part=world.part,
            accumulation=config.accumulation,
            stream=place + 1,
        )
        loader: DataLoader[Item] = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=config.workers,
            pin_memory=world.device.type == "cuda",
        )
        streams[name] = _Batches(loader, marked=teacher is not None and name == IMAGES)
    return streams


class _Batches:
    """A loader's tensors as batches."""

    def __init__(self, loader: DataLoader[Item], *, marked: bool) -> None:
        self._loader = loader
        self._marked = marked

    def __iter__(self) -> Iterator[Batch]:
        for image, label, domain, teacher in self._loader:
            yield Batch(image, label, domain, teacher.float() if self._marked else None)
