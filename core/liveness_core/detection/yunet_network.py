"""The network YuNet (Wu et al., 2023) in ONNX Runtime, and the boxes that its outputs stand for.

The weights are those of OpenCV's model zoo (MIT, see yunet_weights/README.md). OpenCV would run them too, in a class
that keeps the size of its input as state and so needs a lock around every picture.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveness_core.detection.boxes import non_maximum
from liveness_core.detection.weights import released
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Picture

# rows_N15 are x1, y1, x2, y2, confidence, then x and y of the five landmarks

_WEIGHTS = (
    "yunet_weights",
    "face_detection_yunet_2026may.onnx",
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
)
SIDES = (160, 320, 640)
"""The only sides of a canvas, in pixels: multiples of the largest stride. ONNX Runtime keeps memory for each size."""
_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{output}_{stride}" for stride in _STRIDES for output in ("cls", "obj", "bbox", "kps")]
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
        self._cells = {side: [_cells(side // stride) for stride in _STRIDES] for side in SIDES}

    def find(self, canvas: Picture, min_confidence: float) -> NDArray[np.float32]:
        """Find the faces of a canvas, shape (S, S, 3) with S one of `SIDES`; returns rows_N15, most confident first."""
        bgr_13SS = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1), dtype=np.float32)[None]
        outputs = self._session.run({"input": bgr_13SS}, _OUTPUTS)
        rows_N15 = np.concatenate(
            [
                _decoded(outputs[4 * level : 4 * level + 4], cells_C2, stride, min_confidence)
                for level, (stride, cells_C2) in enumerate(zip(_STRIDES, self._cells[len(canvas)], strict=True))
            ]
        )
        return rows_N15[non_maximum(rows_N15[:, :5], _MAX_OVERLAP)]


def _cells(side: int) -> NDArray[np.float32]:
    """Column and row of each cell of a grid, row by row."""
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def _decoded(
    outputs: list[NDArray[Any]], cells_C2: NDArray[np.float32], stride: int, min_confidence: float
) -> NDArray[np.float32]:
    """The boxes of one level.

    A cell (x, y) with the outputs (a, b, c, d) has its box's centre at stride * (x + a, y + b), the sides
    stride * (exp c, exp d), and each landmark at stride * (x + u, y + v). The confidence is the geometric mean of the
    probabilities that there is an object and that it is a face.
    """
    face_C1, object_C1, box_C4, points_C10 = (output[0] for output in outputs)
    confidence_C = np.sqrt(np.clip(face_C1[:, 0], 0, 1) * np.clip(object_C1[:, 0], 0, 1))
    kept = np.nonzero(confidence_C >= min_confidence)[0]
    cells_N2 = cells_C2[kept]
    centres_N2 = (cells_N2 + box_C4[kept, :2]) * stride
    halves_N2 = np.exp(np.minimum(box_C4[kept, 2:], _MAX_LOG_SIDE)) * stride / 2
    points_N52 = (cells_N2[:, None] + points_C10[kept].reshape(-1, 5, 2)) * stride
    return np.concatenate(
        [
            centres_N2 - halves_N2,
            centres_N2 + halves_N2,
            confidence_C[kept, None],
            points_N52.reshape(-1, 10),
        ],
        axis=1,
    ).astype(np.float32)
