"""Trains a small network on fixed batches, alone or under torchrun, and writes losses and weights.

python shared_batch.py FOLDER FIELD=VALUE…
"""

import sys
from pathlib import Path

import torch

from liveness_training.config import TrainConfig, load_config
from liveness_training.loop.distributed import joined, with_global_batch_norms
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.tasks.method import LivenessTask
from support.networks import SmallEncoder, random_batch

STEPS = 8
# Dropout is off: each process draws it for its part of the batch.
FIXED = TrainConfig(
    steps=STEPS,
    precision="fp32",
    dropout=0.0,
    discriminator_dropout=0.0,
    warmup_steps=0,
    optimiser="sgd",
    learning_rate=0.003,
    dib=True,
    lstm=True,
    dvb=True,
    device="cpu",
)


def run(folder: Path, *overrides: str) -> None:
    """Train, and write `log.jsonl` and `state.pt` into a folder."""
    config = load_config(None, overrides, FIXED)
    with joined(config.device) as world:
        torch.manual_seed(0)
        task = with_global_batch_norms(LivenessTask(SmallEncoder(norm=True), 3, config), world)
        trainer = Trainer(task, config, world)

        def parts(images: int, frames: int):
            for step in range(config.steps):
                batch = random_batch(images, frames, seed=step)
                yield batch.part(images * world.rank // world.size, images * (world.rank + 1) // world.size)

        with Progress(folder if world.first else None, config.steps, every=1) as progress:
            trainer.fit({"image": parts(24, 0), "clip": parts(6, 8)}, progress)
        if world.first:
            torch.save(trainer.task.state_dict(), folder / "state.pt")


def main(arguments: list[str]) -> None:
    """Train as the command line says."""
    run(Path(arguments[0]), *arguments[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
