"""A published network whose scores the student learns from: distillation by function matching.

The teacher scores each training picture exactly as the student sees it, simulated or augmented, so that it can score
any number of pictures (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", 2022). The
files stay with their owner: a run's folder and a bundle name them, but hold no part of them.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Picture
from liveness_training.errors import TrainingError

# S crop size

_LIVE = 1
_LIMIT = 8.0
"""Largest log-odds that are learned from; beyond it the teacher only says "sure"."""


class Teacher:
    """One or more MiniFASNet networks of Silent-Face-Anti-Spoofing (minivision-ai, Apache-2.0) as ONNX files.

    Each takes (n, 3, 80, 80), BGR, 0 to 255, and gives (n, 3) logits, the second class live. They were made for crops
    of 2.7 and 4 times the face; their mean has the same AUC on crops of 1.1 to 3.3 times the face, as here.

    Args:
        files: the networks; their log-odds are averaged.

    Raises:
        TrainingError: a file does not exist or is not such a network.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        for file in files:
            if not file.is_file():
                raise TrainingError(f"{file} does not exist: --teacher needs ONNX files")
        for file, session in zip(files, self._sessions, strict=True):
            if _side(session) is None:
                raise TrainingError(f"{file}: a teacher takes square pictures (n, 3, S, S) and gives one output")
        del self.__dict__["_sessions"]  # each worker makes its own: a session does not survive a fork

    @cached_property
    def _sessions(self) -> list[OrtSession]:
        return [OrtSession(file.read_bytes(), RuntimeOptions("cpu")) for file in self._files]

    @property
    def summary(self) -> list[dict[str, str]]:
        """Name and hash of each file, for the run's settings."""
        return [{"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in self._files]

    def log_odds(self, crop_SS3: Picture) -> float:
        """Mean log-odds of live for one RGB crop, −8 to 8."""
        found = [_log_odds(_logits(session, crop_SS3)) for session in self._sessions]
        return float(np.clip(np.mean(found), -_LIMIT, _LIMIT))


def _side(session: OrtSession) -> int | None:
    """S of a network from (n, 3, S, S) to one output; None for any other network."""
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        return None
    shape = session.inputs[0].shape
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        return None
    return shape[2]


def _logits(session: OrtSession, crop_SS3: Picture) -> NDArray[np.float32]:
    size = _side(session)
    assert size is not None  # checked by `Teacher`
    small = cv2.resize(crop_SS3, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]
    batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32)
    (logits,) = session.run({session.inputs[0].name: batch}, [session.outputs[0].name])
    return np.asarray(logits[0], np.float32)


def _log_odds(logits_3: NDArray[np.float32]) -> float:
    others = np.delete(logits_3, _LIVE)
    return float(logits_3[_LIVE] - np.logaddexp.reduce(others))
