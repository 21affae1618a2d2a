"""A published network that marks each training picture, augmented as it is: distillation by function matching.

The teacher sees what the student sees, so that it can mark simulated and augmented pictures as well, of which there is
no end (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", 2022). Its files stay with
their owner: a run's folder and a bundle name them and hold no part of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Picture
from liveness_training.errors import TrainingError

# S crop size, C channels of all networks together, h and w of their last feature map

_LIVE = 1
_LIMIT = 8.0
"""Log-odds beyond which a mark says no more than "sure"."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a teacher says of a picture."""

    log_odds: float
    """Of live, −8 to 8."""
    map_Chw: NDArray[np.float32]
    """The last feature map of each of its networks; C is 0 where none was asked for."""


class Teacher:
    """MiniFASNet networks of Silent-Face-Anti-Spoofing (minivision-ai, Apache-2.0) as ONNX files.

    Each takes (n, 3, 80, 80), BGR, 0 to 255, and gives (n, 3) logits, the second class live. They were made for crops
    of 2.7 and 4 faces and lose nothing on ours: their mean keeps its AUC on crops of 1.1 to 3.3 faces.

    Args:
        files: the networks; their log-odds are averaged.
        with_maps: their last feature maps are wanted as well: those from which a convolution makes a single vector.
            Nothing after it bends, so the logits are linear in them.

    Raises:
        TrainingError: a file is not there, or is no such network.
    """

    def __init__(self, files: Sequence[Path], *, with_maps: bool = False) -> None:
        self._files = tuple(files)
        self._with_maps = with_maps
        for file in files:
            if not file.is_file():
                raise TrainingError(f"{file} does not exist: --teacher needs ONNX files")
        for file, session in zip(files, self._sessions, strict=True):
            (given,) = session.inputs
            if len(session.outputs) != 1 + with_maps or tuple(given.shape[1:3]) != (3, given.shape[3]):
                raise TrainingError(f"{file}: a teacher takes square pictures (n, 3, S, S) and gives one output")
        self.map_shape = self.mark(np.zeros((80, 80, 3), np.uint8)).map_Chw.shape
        """(C, h, w)."""
        del self.__dict__["_sessions"]  # made anew by each worker: a session does not survive a fork

    @cached_property
    def _sessions(self) -> list[OrtSession]:
        read = _with_last_map if self._with_maps else Path.read_bytes
        return [OrtSession(read(file), RuntimeOptions("cpu")) for file in self._files]

    @property
    def summary(self) -> list[dict[str, str]]:
        """Name and hash of each file, for the run's settings."""
        return [{"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in self._files]

    def mark(self, crop_SS3: Picture) -> Mark:
        """What it says of one RGB crop."""
        answers = [self._run(session, crop_SS3) for session in self._sessions]
        odds = float(np.clip(np.mean([_log_odds(logits) for logits, *_ in answers]), -_LIMIT, _LIMIT))
        maps = [feature_map for _, *feature_maps in answers for feature_map in feature_maps]
        return Mark(odds, np.concatenate(maps) if maps else np.zeros((0, 1, 1), np.float32))

    @staticmethod
    def _run(session: OrtSession, crop_SS3: Picture) -> list[NDArray[np.float32]]:
        size = int(session.inputs[0].shape[2])
        small = cv2.resize(crop_SS3, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]
        batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32)
        answers = session.run({session.inputs[0].name: batch}, [output.name for output in session.outputs])
        return [np.asarray(answer[0], np.float32) for answer in answers]


def _log_odds(logits_3: NDArray[np.float32]) -> float:
    others = np.delete(logits_3, _LIVE)
    return float(logits_3[_LIVE] - np.logaddexp.reduce(others))


def _with_last_map(file: Path) -> bytes:
    """The network with one output more: what the last of its convolutions that leave a single place is made from."""
    model = onnx.shape_inference.infer_shapes(onnx.load(file))
    places = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim[2:]]
        for value in model.graph.value_info
    }
    for node in reversed(model.graph.node):
        if node.op_type == "Conv" and places.get(node.output[0]) == [1, 1] != places.get(node.input[0]):
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.input[0]))
            return bytes(model.SerializeToString())
    raise TrainingError(f"{file}: no convolution leaves a single place, so it has no last feature map to learn from")
