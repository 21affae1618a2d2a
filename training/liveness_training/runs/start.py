"""The networks that a run starts with."""

from pathlib import Path

import numpy as np
import torch

from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.split_crops import SplitCrops
from liveness_training.models.init import load_initial_weights
from liveness_training.models.network import channels_last, create_encoder
from liveness_training.runs.folder import RunError, RunFolder
from liveness_training.tasks.method import LivenessTask

_INIT_IMAGES = 96
"""Pictures that folded weights are unfolded on."""


def initial_task(data: SplitCrops, config: TrainConfig, init: Path | None) -> LivenessTask:
    """The task with its initial weights.

    Args:
        data: the data of the run.
        config: its settings.
        init: file of an encoder's weights, folder of a run, or None for random weights.

    Raises:
        TrainingError: the weights do not fit the settings.
    """
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
        name for name in ("people", "encoder", "padding") if getattr(run.config, name) != getattr(config, name)
    ]
    if run.preprocess != preprocess:
        differing.append("preprocessing")
    if differing:
        raise RunError(f"{run.path} has another value of {', '.join(differing)} than this run")
    task.network.load_state_dict(run.network().state_dict())
