"""A small training run on made-up crops, also as a program: for tests that kill it or share it between processes.

python training_run.py FOLDER [--resume] FIELD=VALUE…
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig, load_config
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.runs.plan import RunPlan
from liveness_training.runs.train import train
from support.networks import short_networks

SIZE = 32
SMALL = TrainConfig(
    steps=6,
    images_per_domain=4,
    clips_per_domain=2,
    clip_frames=3,
    warmup_steps=2,
    precision="fp32",
    workers=0,
    device="cpu",
    checkpoint_every=2,
    dib=True,
    lstm=True,
    dvb=True,
)


def recordings(people: int = 12, frames: int = 3) -> CropSet:
    """Two domains; a live recording, bright, and a print, dark, of each person."""
    samples, pictures = [], []
    random = np.random.default_rng(0)
    for domain in ("office", "hall"):
        for person in range(people):
            for species in ("live", "print"):
                for frame in range(frames):
                    name = f"p{person}-{species}"
                    samples.append(
                        Sample(f"{name}-{frame}.jpg", domain, species == "live", species, f"p{person}", name)
                    )
                    low = 130 if species == "live" else 20
                    pictures.append(random.integers(low, low + 90, (2, SIZE, SIZE, 3), dtype=np.uint8))
    missed = (Sample("lost.jpg", "hall", False, "print", "p1", ""),)
    return CropSet(tuple(samples), missed, np.stack(pictures))


def run(folder: Path, *overrides: str, resume: bool = False, **options: Any) -> Any:
    """Train with `SMALL` settings and these overrides."""
    config = load_config(None, overrides, SMALL)
    plan = RunPlan(folder, config, PreprocessSpec(size=SIZE), DetectorSpec(), resume=resume, log_every=1, **options)
    return train(recordings(), plan)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor, of both networks."""
    content = torch.load(folder / "weights.pt", weights_only=True)
    return {f"{part}.{name}": value for part, state in content.items() for name, value in state.items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two networks have the same weights, to the last bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def main(arguments: list[str]) -> None:
    """Train as the command line says, a short network."""
    with short_networks():
        run(
            Path(arguments[0]),
            *(argument for argument in arguments[1:] if argument != "--resume"),
            resume="--resume" in arguments,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
