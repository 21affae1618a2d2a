"""The progress of a run: a bar on the terminal, lines of JSON in a log, TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX import SummaryWriter
from torch import Tensor
from tqdm import tqdm

# Name of the stream of images; its figures are logged without a prefix.
IMAGES = "image"


class Progress:
    """Writes the progress to a run's folder; only the first of several processes does.

    Args:
        folder: folder of the run, for `log.jsonl` and `tensorboard/`; None writes nothing.
        steps: iterations in all.
        start: iteration that the run begins or continues with; log lines of an interrupted run from there on are
            dropped, since they are written again.
        every: iterations between two lines.
    """

    def __init__(self, folder: Path | None, steps: int, start: int = 0, every: int = 10) -> None:
        self._folder = folder
        self._steps = steps
        self._start = start
        self._every = every
        self._images = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            _keep_lines_before(self._folder / "log.jsonl", self._start)
            self._file = (self._folder / "log.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._start or None)
        self._bar = tqdm(
            total=self._steps,
            initial=self._start,
            unit="step",
            desc="training",
            disable=True if self._folder is None else None,  # None: only on a terminal, not in a log
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._folder is not None:
            self._file.close()
            self._board.close()

    def iteration(self, step: int, rate: float, sums: Mapping[str, Mapping[str, Tensor]], images: int) -> None:
        """Report an iteration.

        Args:
            step: number of the iteration, from 0.
            rate: learning rate.
            sums: stream -> name -> sum over the batch, with the size of the batch as `count`.
            images: pictures that this process trained on in the iteration, frames of clips included.
        """
        self._images += images
        if self._folder is None:
            return
        self._bar.update()
        if step % self._every and step != self._steps - 1:
            return
        speed = round(self._images / (time.monotonic() - self._began), 1)
        values = {name: round(value, 5) for name, value in _means(sums).items()}
        self._file.write(json.dumps({"step": step, "lr": rate, "images_per_s": speed, **values}) + "\n")
        self._file.flush()
        self._bar.set_postfix({"lr": f"{rate:.1e}", "images/s": speed, **{name: values[name] for name in values}})
        for name, value in {"lr": rate, "images_per_s": speed, **values}.items():
            self._board.add_scalar(name, value, step)


def _means(sums: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """Means over the batch; counts named `*correct` become accuracies."""
    found = {}
    for stream, values in sums.items():
        prefix = "" if stream == IMAGES else f"{stream}/"
        for name, value in values.items():
            if name != "count":
                found[prefix + name.replace("correct", "accuracy")] = float(value) / float(values["count"])
    return found


def _keep_lines_before(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] < step:
                kept.append(line)
        except (ValueError, KeyError):  # cut off when the run was interrupted
            continue
    partial = path.with_suffix(".partial")  # a kill in the middle must not lose the log
    partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    partial.replace(path)
