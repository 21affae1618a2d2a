"""What a training run leaves on disk, read back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.errors import TrainingError
from liveness_training.evaluation.report import Report
from liveness_training.models.mobilenet_v2 import ImageNetwork, MobileNetV2Encoder


class RunError(TrainingError):
    """A folder is not that of a run that has ended."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What a training run left."""

    path: Path
    config: TrainConfig
    preprocess: PreprocessSpec
    detector: DetectorSpec
    git_commit: str

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Read `run.json`.

        Raises:
            RunError: it is missing.
        """
        settings = _read_json(path / "run.json")
        return cls(
            path,
            TrainConfig.model_validate(settings["config"]),
            PreprocessSpec.model_validate(settings["preprocess"]),
            DetectorSpec.model_validate(settings["detector"]),
            settings["git_commit"],
        )

    def metrics(self) -> Report:
        """Its figures.

        Raises:
            RunError: the run has not ended.
        """
        report: Report = _read_json(self.path / "metrics.json")
        return report

    def network(self) -> ImageNetwork:
        """The trained network, in evaluation mode."""
        network = ImageNetwork(MobileNetV2Encoder(self.config.padding))
        network.load_state_dict(torch.load(self.path / "weights.pt", weights_only=True))
        return network.eval()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: is this the folder of a run that has ended?") from error
