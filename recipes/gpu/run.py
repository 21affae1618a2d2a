"""One run of a pack: train a member until its time is over, score every face that it is reported on, leave a folder.

    python3 recipes/gpu/run.py PACK RUN --work WORK --views 4 --versions 2 --until EPOCH --device cuda

`train.py` calls it, several times side by side. It needs PyTorch, NumPy and OpenCV. The learning rate follows the share
of the time, so that a run of any length ends with a small one. It writes a checkpoint every half minute; the same
command goes on from there. WORK/runs/RUN gets `weights.pt` (half precision), `scores.npy` (log-odds of live, NaN where
a face is not reported on), `log.jsonl` and, last, `result.json`.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from augment import augment
from numpy.typing import NDArray
from packed import Pack
from torch import Tensor
from torch.nn import functional
from views import Pictures, pictures_of

from liveness_training.data.drawing import BalancedBatches, Key, image_items
from liveness_training.data.protocols import Protocol
from liveness_training.data.samples import Sample
from liveness_training.data.simulation import SIMULATIONS
from liveness_training.loop import checkpoint
from liveness_training.loop.optimiser import WeightAverage, learning_rate_factor, make_optimiser, usable_precision
from liveness_training.models.network import ImageNetwork, channels_last, create_encoder

# N images, S side, P places of the last feature map

_CHECKPOINT_S = 30
_SCORED_AT_ONCE = 256
_LOG_EVERY = 20
_WRITING_S = 3
"""To write what a run leaves, at its end."""


class Batches:
    """The batches of a run, as tensors on its device."""

    def __init__(
        self, pack: Pack, pictures: Pictures, protocol: Protocol, config: SimpleNamespace, device: str
    ) -> None:
        self._faces, self._samples, self._pictures, self._config = len(pack.samples), pack.samples, pictures, config
        self._numbers = {row: number for number, row in enumerate(pictures.live)}
        self._protocol, self.device = protocol, torch.device(device)
        self._all = torch.from_numpy(np.load(pictures.file, mmap_mode="c" if device == "cpu" else None)).to(device)

    def __call__(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented images (N, 3, S, S), values -1 to 1, and their labels (N,), from an iteration on."""
        simulations = tuple(SIMULATIONS) if self._config.simulate else ()
        items = image_items(self._samples, self._protocol.train, simulations=simulations)
        drawn = BalancedBatches(
            items,
            per_domain=self._config.images_per_domain,
            steps=self._config.steps,
            seed=self._config.seed,
            start=start,
        )
        for step, keys in enumerate(drawn, start):
            random = np.random.default_rng([self._config.seed, 1, step])
            torch.manual_seed(hash((self._config.seed, step)) & (2**63 - 1))
            index = np.array([self._picture(key, random) for key in keys])
            spoof = [bool(simulation) or not self._samples[rows[0]].live for rows, _, simulation in keys]
            image = augment(self._taken(index).float(), random, self._config.grey_share)
            yield _scaled(image), torch.tensor(spoof, dtype=torch.long).to(self.device, non_blocking=True)

    def _picture(self, key: Key, random: np.random.Generator) -> int:
        (row,), _, simulation = key
        if simulation:
            version = int(random.integers(self._pictures.versions))
            return self._pictures.of_attack(self._faces, simulation, self._numbers[row], version)
        views = self._pictures.views
        of_service = views == 1 or random.random() < self._config.service_view_share
        return self._pictures.of_face(row, 0 if of_service else int(random.integers(1, views)))

    def _taken(self, index: NDArray[np.int64]) -> Tensor:
        return self._all[torch.from_numpy(index).to(self.device, non_blocking=True)].permute(0, 3, 1, 2)

    def of_service(self, rows: Sequence[int]) -> Tensor:
        """Images of some faces as the service would score them."""
        return _scaled(self._taken(np.array([self._pictures.of_face(row, 0) for row in rows])).float())


class Pace:
    """How many images a second a run trains on. The first look starts the clock: before it, kernels are chosen."""

    def __init__(self) -> None:
        self.images = 0
        self.images_per_s: float | None = None
        self._first: tuple[float, int] | None = None

    def look(self) -> None:
        """Take the time; the GPU must have ended its work."""
        now = time.time()
        if self._first is None:
            self._first = now, self.images
        else:
            self.images_per_s = round((self.images - self._first[1]) / (now - self._first[0]), 1)

    def scoring_s(self, rows: int) -> float:
        """How long it will take to score so many faces, in seconds; without gradients twice as fast as training."""
        return 0.0 if self.images_per_s is None else rows / (2 * self.images_per_s)


def _scaled(image_N3SS: Tensor) -> Tensor:
    """Values 0 to 255 as the networks take them: a mean and a deviation of one half, RGB."""
    return (image_N3SS / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def loss_of(network: ImageNetwork, image: Tensor, label_N: Tensor, config: SimpleNamespace) -> Tensor:
    """Cross-entropy of the pictures' labels, or with `patch_labels` that of all places."""
    embedding_ND, features_NDhw = network.encoder(image)
    if config.patch_labels:
        features_NPD = features_NDhw.flatten(2).transpose(1, 2)
        label_N = label_N.repeat_interleave(features_NPD.shape[1])
        embedding_ND = features_NPD.flatten(0, 1)
    logits = network.classifier(network.dropout(embedding_ND)).float()
    return functional.cross_entropy(logits, label_N, label_smoothing=config.label_smoothing)


def initial(pack: Pack, run: Mapping[str, Any], config: SimpleNamespace) -> ImageNetwork:
    """The network with its initial weights."""
    torch.manual_seed(config.seed)
    encoder = create_encoder(config.encoder, config.padding)
    if run["init"] is not None:
        state = torch.load(pack.folder / "init" / f"{run['init']}.pt", weights_only=True)
        encoder.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    return channels_last(ImageNetwork(encoder, config.dropout))


def train(
    batches: Batches, network: ImageNetwork, config: SimpleNamespace, folder: Path, until: float, rows: int
) -> dict[str, Any]:
    """Train until the time is over, less what scoring so many rows will take; returns what it came to.

    Returns:
        `network`, the average of the weights, and figures.
    """
    device = batches.device
    network = network.to(device)
    optimiser, average = make_optimiser(network, config), WeightAverage(network, config.ema_decay)
    step, begun = 0, 0.0
    if (state := checkpoint.latest(folder / "checkpoints")) is not None:
        step, begun = state["step"], state["share"]
        for part, saved in ((network, "network"), (optimiser, "optimiser"), (average, "average")):
            part.load_state_dict(state[saved])
    kind = usable_precision(config.precision, device)
    started = saved_at = time.time()
    first, share, pace = step, begun, Pace()
    network.train()
    with (folder / "log.jsonl").open("a") as log:
        for image, label in batches(step):
            rate = config.learning_rate * learning_rate_factor(round(share * config.steps), config)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
                loss = loss_of(network, image, label, config)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            average.update(network)
            step += 1
            pace.images += len(label)
            logs = step % _LOG_EVERY == 0
            if logs or device.type == "cpu":
                value = float(loss.detach())  # waits for the GPU, so that the clock tells what is done
                pace.look()
            left = until - started - pace.scoring_s(rows) - _WRITING_S
            done = max((time.time() - started) / max(left, 0.1), (step - first) / (config.steps - first))
            share = begun + (1 - begun) * min(done, 1)
            if logs:
                line = {"step": step, "share": round(share, 4), "lr": rate, "loss": round(value, 5)}
                log.write(json.dumps({**line, "images_per_s": pace.images_per_s}) + "\n")
                log.flush()
            if share >= 1:
                break
            if time.time() - saved_at > _CHECKPOINT_S:
                saved_at = time.time()
                parts = {"network": network, "optimiser": optimiser, "average": average}
                states = {name: part.state_dict() for name, part in parts.items()}
                checkpoint.save(folder / "checkpoints", step, {"step": step, "share": share, **states})
    return {"network": average.module, "steps": step, "images_per_s": pace.images_per_s}


@torch.inference_mode()
def scores(network: ImageNetwork, batches: Batches, rows: Sequence[int]) -> NDArray[np.float32]:
    """Log-odds of live of some faces, in float32."""
    network.eval()
    found = []
    for start in range(0, len(rows), _SCORED_AT_ONCE):
        logits_N2 = network(batches.of_service(rows[start : start + _SCORED_AT_ONCE]))
        found.append((logits_N2[:, 0] - logits_N2[:, 1]).cpu().numpy())
    return np.concatenate(found) if found else np.empty(0, np.float32)


def speed(batches: Batches, count: int) -> float:
    """Images a second that batches are drawn, gathered and augmented with, after the first of them."""
    images, started = 0, 0.0
    for number, (image, _) in enumerate(batches(0)):
        float(image.sum())  # waits for the GPU
        if number == 0:
            started = time.time()
        else:
            images += len(image)
        if number == count:
            break
    return images / (time.time() - started)


def auc_and_eer(log_odds: NDArray[np.float32], live: NDArray[np.bool_]) -> tuple[float, float]:
    """Area under the ROC curve and equal error rate; for the log, the figures proper are made by `take_back.py`."""
    order = np.argsort(-log_odds, kind="stable")
    passed_live, passed_spoof = np.cumsum(live[order]) / live.sum(), np.cumsum(~live[order]) / (~live).sum()
    nearest = int(np.argmin(np.abs(passed_spoof + passed_live - 1)))
    area = float(np.diff(np.r_[0, passed_spoof]) @ passed_live)
    return round(area, 4), round(float(passed_spoof[nearest] + 1 - passed_live[nearest]) / 2, 4)


def by_part(log_odds_M: NDArray[np.float32], samples: Sequence[Sample], protocol: Protocol) -> dict[str, Any]:
    """AUC and EER of each part that is reported on."""
    found = {}
    for name, part in protocol.reports.items():
        live = np.array([samples[row].live for row in part.rows], bool)
        if live.any() and not live.all():
            found[name] = dict(zip(("auc", "eer"), auc_and_eer(log_odds_M[list(part.rows)], live), strict=True))
    return found


def main() -> None:
    """Make the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("run")
    parser.add_argument("--work", type=Path, required=True, help="folder with the member's pictures and the runs")
    parser.add_argument("--views", type=int, required=True)
    parser.add_argument("--versions", type=int, required=True)
    parser.add_argument("--until", type=float, required=True, help="seconds since 1970")
    parser.add_argument("--device", required=True)
    parser.add_argument("--batches", type=int, default=0, help="only make so many batches and say how fast they come")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # training computes in bf16; scores shall be those of float32
    pack = Pack(options.pack)
    run = next(each for each in pack.plan["runs"] if each["name"] == options.run)
    config = SimpleNamespace(**run["config"])
    folder = options.work / "runs" / options.run
    folder.mkdir(parents=True, exist_ok=True)
    protocol = pack.protocol(run["config"])
    pictures = pictures_of(pack, run["member"], options.work, options.views, options.versions)
    batches = Batches(pack, pictures, protocol, config, options.device)
    if options.batches:
        print(f"{speed(batches, options.batches):.0f} images/s without training")
        return
    rows = protocol.evaluated
    trained = train(batches, initial(pack, run, config), config, folder, options.until, len(rows))
    network: ImageNetwork = trained.pop("network")
    half = {key: value.half() if value.ndim > 1 else value for key, value in network.state_dict().items()}
    network.load_state_dict(half)  # what is scored are the weights that are kept
    log_odds_M = np.full(len(pack.samples), np.nan, np.float32)
    log_odds_M[rows] = scores(network, batches, rows)
    np.save(folder / "scores.npy", log_odds_M)
    torch.save({key: value.cpu() for key, value in half.items()}, folder / "weights.pt")
    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    result = {
        "run": run,
        **trained,
        "parts": by_part(log_odds_M, pack.samples, protocol),
        "libraries": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads(), **gpu},
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
