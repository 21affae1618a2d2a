"""The folder that a training run leaves, read back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.clips import Clip, clips_of
from liveness_training.data.crops import VIEWS, CropSet, prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.data.protocols import Protocol, make_protocol
from liveness_training.data.split_crops import SplitCrops
from liveness_training.errors import TrainingError
from liveness_training.evaluation.figures import Report
from liveness_training.models.network import ImageNetwork, TemporalHead, create_encoder

SETTINGS = "run.json"
WEIGHTS = "weights.pt"
METRICS = "metrics.json"
SCORES = "scores.csv"
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"


class RunError(TrainingError):
    """A folder holds no run, or none that fits; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A training run on disk."""

    path: Path
    config: TrainConfig
    preprocess: PreprocessSpec
    detector: DetectorSpec
    git_commit: str
    data: tuple[str, ...]
    """The data that it was trained and reported on, as the command line names them."""
    cache: Path
    """Folder of the crops."""
    views: int = VIEWS
    """Crops of each face in the cache."""
    teacher: tuple[dict[str, str], ...] = ()
    """Name and hash of the networks that it learned from beside the labels, see `Teacher.summary`."""
    init_run: dict[str, Any] | None = None
    """Commit and settings of the run that it started from; None where it did not start from a run."""

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Read `run.json`.

        Raises:
            RunError: it is missing, or was written by another version of this software.
        """
        settings = _read_json(path / SETTINGS)
        try:
            return cls(
                path,
                TrainConfig.model_validate(settings["config"]),
                PreprocessSpec.model_validate(settings["preprocess"]),
                DetectorSpec.model_validate(settings["detector"]),
                settings["git_commit"],
                tuple(settings["data"]),
                Path(settings["cache"]),
                settings.get("views", VIEWS),
                tuple(settings.get("teacher", ())),
                settings.get("init_run"),
            )
        except (ValidationError, KeyError, TypeError) as error:
            raise RunError(f"{path / SETTINGS} does not belong to this version of the software: {error}") from error

    def summary(self) -> dict[str, Any]:
        """How the run was made, for the bundle and for runs that start from it."""
        config = self.config.model_dump(mode="json")
        return {
            "git_commit": self.git_commit,
            "config": config,
            "teacher": list(self.teacher),
            "init_run": self.init_run,
        }

    def metrics(self) -> Report:
        """The figures of the run.

        Raises:
            RunError: the run has not ended.
        """
        report: Report = _read_json(self.path / METRICS)
        return report

    @property
    def clip(self) -> ClipSpec:
        """The frames of a video that make a clip."""
        return self.config.clip

    def network(self) -> ImageNetwork:
        """The trained encoder and classifier, in evaluation mode.

        Raises:
            RunError: the run has not ended.
        """
        encoder = create_encoder(self.config.encoder, self.config.padding)
        network = ImageNetwork(encoder, feature_scale=self.config.feature_scale)
        network.load_state_dict(self._weights()["network"])
        return network.eval()

    def temporal(self) -> TemporalHead | None:
        """The trained temporal head, in evaluation mode; None where the run had none."""
        if not self.config.lstm:
            return None
        encoder = create_encoder(self.config.encoder, self.config.padding)
        head = TemporalHead(encoder.embedding_dim, self.config.lstm_hidden)
        head.load_state_dict(self._weights()["temporal"])
        return head.eval()

    def crops(self) -> CropSet:
        """The crops that it was trained and reported on, cut again where the cache no longer has them.

        Raises:
            DataError: the data have moved or changed.
        """
        sources = [parse_source(text) for text in self.data]
        return prepare_all(
            sources,
            self.cache,
            preprocess=self.preprocess,
            detector=self.detector,
            clip=self.clip,
            views=self.views,
        )

    def protocol(self, crops: CropSet) -> Protocol:
        """Which crops the run was trained on, and which it is reported on."""
        return protocol_of(self.config, crops)

    def split(self, crops: CropSet) -> SplitCrops:
        """The crops with the run's protocol and preprocessing."""
        return SplitCrops(crops, self.protocol(crops), self.preprocess)

    def clips(self, crops: CropSet, rows: Sequence[int]) -> list[Clip]:
        """The clips among some rows as the temporal head takes them."""
        return clips_of(crops, rows, self.clip, self.config.short_clips)

    def _weights(self) -> dict[str, Any]:
        path = self.path / WEIGHTS
        try:
            weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing: has this run ended?") from error
        return weights


def protocol_of(config: TrainConfig, crops: CropSet) -> Protocol:
    """Which crops are trained on and which are reported on by these settings."""
    return make_protocol(
        crops.samples,
        crops.missed,
        config.hold_out,
        sources=config.sources,
        people=config.people,
        live_only=config.simulate,
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: is this the folder of a run that has ended?") from error
