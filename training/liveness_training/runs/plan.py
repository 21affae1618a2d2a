"""What a run is made from, checked, and written into its folder before anything is trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.crops import VIEWS
from liveness_training.data.teacher import Teacher
from liveness_training.runs.environment import git_commit, libraries, machine
from liveness_training.runs.folder import SETTINGS, RunError, RunFolder

# How a run is carried out; a run may be resumed with other values of these.
_PRACTICAL = {"device", "workers", "compile", "accumulation", "checkpoint_every"}


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that is to be made: its settings, where it starts from, and where it goes."""

    folder: Path
    """Folder of the run."""
    config: TrainConfig
    preprocess: PreprocessSpec
    """Size, colours and scale of the crops."""
    detector: DetectorSpec
    """The detector that found the faces; goes into the bundle."""
    init: Path | None = None
    """File of an encoder's weights to start from, or folder of a run whose encoder and classifier are taken; None
    starts from random weights."""
    teacher: tuple[Path, ...] = ()
    """Files of the networks that `distillation` learns from."""
    resume: bool = False
    """Continue from the latest checkpoint of a run with the same settings."""
    data: tuple[str, ...] = ()
    """The data as the command line names them; kept so that later commands find them."""
    cache: Path = Path("cache")
    """Folder of the crops."""
    views: int = VIEWS
    """Crops of each face in it."""
    log_every: int = 10
    """Iterations between two lines of the log."""

    def checked_teacher(self) -> Teacher | None:
        """The networks to learn from; None without any.

        Raises:
            RunError: the settings do not fit the machine or each other.
            TrainingError: a file is no network that can teach.
        """
        if self.config.precision == "fp16" and not torch.cuda.is_available():
            raise RunError("precision is fp16, which needs a GPU: set precision=bf16 or fp32")
        if bool(self.teacher) != bool(self.config.distillation):
            raise RunError("distillation and --teacher need each other: set both or neither")
        return Teacher(self.teacher) if self.teacher else None

    def claim_folder(self, teacher: Teacher | None) -> None:
        """Make the run's folder with its settings, or find in it the run to continue.

        Raises:
            RunError: the folder holds a run and `resume` is not set, or that run has other settings.
        """
        path = self.folder / SETTINGS
        settings = self._settings(teacher)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            # Written first: the commit is that of the code that was started, whatever the checkout becomes meanwhile.
            path.write_text(json.dumps(settings, indent=2) + "\n")
            return
        if not self.resume:
            raise RunError(f"{self.folder} holds a run: --resume goes on with it; else choose another folder")
        asked, kept = _decisive(json.loads(json.dumps(settings))), _decisive(json.loads(path.read_text()))
        if changed := sorted(name for name in asked if asked[name] != kept.get(name)):
            raise RunError(
                f"{self.folder} holds a run with another value of {', '.join(changed)}: "
                "resume it with its own settings, or choose another folder"
            )

    def _settings(self, teacher: Teacher | None) -> dict[str, Any]:
        """The content of `run.json`."""
        starts_from_run = self.init is not None and self.init.is_dir()
        return {
            "config": self.config.model_dump(),
            "preprocess": self.preprocess.model_dump(),
            "detector": self.detector.model_dump(),
            "init": None if self.init is None else self.init.name,
            "teacher": teacher.summary if teacher is not None else [],
            "init_run": RunFolder.read(self.init).summary() if self.init is not None and starts_from_run else None,
            "data": list(self.data),
            "cache": str(self.cache),
            "views": self.views,
            "git_commit": git_commit(),
            "libraries": libraries(),
            "machine": machine(),
        }


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the result of a run depends on."""
    config = {name: value for name, value in settings["config"].items() if name not in _PRACTICAL}
    read = settings.get("views", VIEWS) if config["service_view_share"] < 1 else 1
    named = {name: settings.get(name) or None for name in ("preprocess", "detector", "init", "teacher")}
    return config | named | {"views": read}
