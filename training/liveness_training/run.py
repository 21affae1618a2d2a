"""A run: crops in, a folder with weights, settings, log and figures out."""

import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.scoring import live_probability
from liveness_training.config import TrainConfig
from liveness_training.data.batches import BalancedBatches, TrainingCrops, service_images
from liveness_training.data.crops import CropSet
from liveness_training.evaluation.metrics import eer
from liveness_training.evaluation.report import run_report, scored_rows
from liveness_training.loop import fit
from liveness_training.models.init import load_folded_weights
from liveness_training.models.mobilenet_v2 import ImageNetwork, MobileNetV2Encoder, channels_last
from liveness_training.protocols import Protocol, make_protocol
from liveness_training.tasks.binary import BinaryTask, logits

_BATCH = 64


def train(
    crops: CropSet,
    config: TrainConfig,
    folder: Path,
    *,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    init: Path | None,
    workers: int = 2,
) -> dict[str, dict[str, float]]:
    """Train, evaluate, and write the run's folder; returns its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    # Written first: the commit is that of the code that was started, not of what the checkout became meanwhile.
    settings = {
        "config": config.model_dump(),
        "preprocess": preprocess.model_dump(),
        "detector": detector.model_dump(),
        "git_commit": git_commit(),
        "libraries": libraries(),
    }
    (folder / "run.json").write_text(json.dumps(settings, indent=2) + "\n")
    torch.manual_seed(config.seed)
    protocol = make_protocol(crops.samples, crops.missed, config.hold_out)
    encoder = MobileNetV2Encoder(config.padding)
    if init is not None:
        random = np.random.default_rng(config.seed)
        some = random.choice(protocol.train, size=min(96, len(protocol.train)), replace=False)
        load_folded_weights(encoder, init, torch.from_numpy(preprocess.to_tensor(list(service_images(crops, some)))))
    task = channels_last(BinaryTask(ImageNetwork(encoder, config.dropout), config.label_smoothing))
    sampler = BalancedBatches(crops, protocol.train, batch_size=config.batch_size, steps=config.steps, seed=config.seed)
    # Set here and inherited: in a forked worker the call would wait for OpenCV's threads, which a fork does not copy.
    cv2.setNumThreads(1)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        TrainingCrops(crops, preprocess, config.seed, config.service_view_share),  # type: ignore[arg-type]  # the batch
        batch_sampler=sampler,
        num_workers=workers,
    )
    averaged = fit(task, loader, config, folder / "log.jsonl")
    network = averaged.network
    assert isinstance(network, ImageNetwork)
    torch.save(network.state_dict(), folder / "weights.pt")
    return evaluate(network, crops, protocol, folder, preprocess)


def evaluate(
    network: ImageNetwork, crops: CropSet, protocol: Protocol, folder: Path, preprocess: PreprocessSpec
) -> dict[str, dict[str, float]]:
    """Write and return a network's figures, at the EER threshold of the development people."""
    scores = score_rows(network, crops, protocol.evaluated, preprocess)
    _, threshold = eer(scored_rows(scores, crops, protocol.dev))
    report = run_report(scores, crops, protocol, threshold)
    (folder / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def score_rows(
    network: ImageNetwork, crops: CropSet, rows: Sequence[int], preprocess: PreprocessSpec
) -> dict[int, float]:
    """Row -> score of the service's crop, in fp32 and at temperature 1."""
    scores: dict[int, float] = {}
    for batch in _chunks(rows):
        image = torch.from_numpy(preprocess.to_tensor(list(service_images(crops, batch))))
        values = live_probability(logits(network, image.to(memory_format=torch.channels_last)).numpy(), 1.0)
        scores.update(zip(batch, (float(value) for value in values), strict=True))
    return scores


def _chunks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def git_commit() -> str:
    """Commit of the code that runs, with `-dirty` where it was changed; `unknown` outside a checkout."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607 (git as the user has it)
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return shown.stdout.strip()


def libraries() -> dict[str, str]:
    """Versions that a run depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
