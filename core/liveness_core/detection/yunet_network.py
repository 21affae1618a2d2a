"""The network YuNet (Wu et al., 2023) in ONNX Runtime, and the boxes that its outputs stand for.

The weights are those of OpenCV's model zoo (MIT, see yunet_weights/README.md), in a graph that computes the same
faster. OpenCV would run them too, in a class that keeps the size of its input as state and so needs a lock around every
picture.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.detection.boxes import non_maximum
from liveness_core.detection.weights import released
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Picture

# rows_N15 are x1, y1, x2, y2, confidence, then x and y of the five landmarks; C cells of all levels, N of them kept

_WEIGHTS = (
    "yunet_weights",
    "yunet_rewritten.onnx",
    "a837fbcf8d6b6f4d7dac5c78eb39fd46fcc58edf213eff7f7598c486c98fab92",
)
SIDES = (160, 320, 640)
"""The only sides of a canvas, in pixels: multiples of the largest stride. ONNX Runtime keeps memory for each size."""
_STRIDES = (8, 16, 32)
_MAX_OVERLAP = 0.3
_MAX_LOG_SIDE = 8.0  # a side of thousands of pixels; beyond it a picture made for that could bring forth infinity


class YunetNetwork:
    """YuNet on square canvases of a few fixed sizes."""

    def __init__(self, detector: str, runtime: RuntimeOptions) -> None:
        """Load the network.

        Args:
            detector: name of the detector that uses it, for the message of an error.
            runtime: provider and threads.

        Raises:
            DetectorUnavailableError: the weight file is missing or is not the released one.
        """
        self._session = OrtSession(released(detector, *_WEIGHTS), runtime)
        self.provider = self._session.provider
        self._cells = {side: np.concatenate([_cells(side // stride, stride) for stride in _STRIDES]) for side in SIDES}

    def find(self, canvas: Picture, min_confidence: float) -> NDArray[np.float32]:
        """Find the faces of a canvas, shape (S, S, 3) with S one of `SIDES`; returns rows_N15, most confident first."""
        planes_3SS = np.empty((3, *canvas.shape[:2]), np.uint8)
        cv2.split(canvas, [planes_3SS[2], planes_3SS[1], planes_3SS[0]])  # the network's order is BGR
        (rows_116C,) = self._session.run({"input": planes_3SS[None].astype(np.float32)}, ["rows"])
        rows_N15 = _decoded(rows_116C[0], self._cells[len(canvas)], min_confidence)
        return rows_N15[non_maximum(rows_N15[:, :5], _MAX_OVERLAP)]


def _cells(side: int, stride: int) -> NDArray[np.float32]:
    """Column, row and stride of each cell of a grid, row by row."""
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([columns.ravel(), rows.ravel(), np.full(side * side, stride)], axis=1).astype(np.float32)


def _decoded(
    outputs_16C: NDArray[np.float32], cells_C3: NDArray[np.float32], min_confidence: float
) -> NDArray[np.float32]:
    """The boxes of the cells that are confident enough.

    The outputs of a cell (x, y) are the logits of being a face and of being an object, four numbers (a, b, c, d) of the
    box and two (u, v) of each landmark. The box's centre lies at stride * (x + a, y + b), its sides are
    stride * (exp c, exp d), and the landmark lies at stride * (x + u, y + v). The confidence is the geometric mean of
    both probabilities.
    """
    # Neither probability can be less than the square of their geometric mean, so most cells end here.
    least = min(max(min_confidence, 1e-3), 0.999) ** 2
    likely = np.nonzero(np.minimum(outputs_16C[0], outputs_16C[1]) >= math.log(least / (1 - least)) - 1e-3)[0]
    outputs_N16 = outputs_16C[:, likely].T
    probabilities_N2 = 1 / (1 + np.exp(-outputs_N16[:, :2]))
    confidence_N = np.sqrt(probabilities_N2[:, 0] * probabilities_N2[:, 1])
    kept = confidence_N >= min_confidence
    outputs_N14, confidence_N, cells_N3 = outputs_N16[kept, 2:], confidence_N[kept], cells_C3[likely[kept]]
    cells_N2, stride_N1 = cells_N3[:, :2], cells_N3[:, 2:]
    centres_N2 = (cells_N2 + outputs_N14[:, :2]) * stride_N1
    halves_N2 = np.exp(np.minimum(outputs_N14[:, 2:4], _MAX_LOG_SIDE)) * stride_N1 / 2
    points_N52 = (cells_N2[:, None] + outputs_N14[:, 4:].reshape(-1, 5, 2)) * stride_N1[:, None]
    return np.concatenate(
        [centres_N2 - halves_N2, centres_N2 + halves_N2, confidence_N[:, None], points_N52.reshape(-1, 10)], axis=1
    ).astype(np.float32, copy=False)
