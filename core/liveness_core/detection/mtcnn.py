"""MTCNN (Zhang et al., "Joint Face Detection and Alignment", 2016).

Three networks run in a row: P-Net proposes windows over an image pyramid, R-Net and O-Net refine them, O-Net adds five
landmarks. The weights are those of the package `mtcnn-runtime` 1.0.0 (Apache-2.0). They are kept beside this file since
that package depends on `opencv-python` and `onnxruntime`, which overwrite what we install; see mtcnn_weights/README.md.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.detection import onet
from liveness_core.detection.base import largest_first
from liveness_core.detection.boxes import non_maximum, refine, squares
from liveness_core.detection.onet import cut_windows, locate, normalised, run
from liveness_core.detection.scaling import enlarge_face, narrow_face, shrink_to
from liveness_core.detection.weights import released
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Box, DetectedFace, Picture

# N candidate windows; boxes_N5 rows are x1, y1, x2, y2, confidence

_WEIGHTS = (
    ("mtcnn_weights", "pnet.onnx", "4b2f1dc55be37d8f73d08cd4038c723d12b9fa90fceb7fa5a4461c4353fb87c5"),
    ("mtcnn_weights", "rnet.onnx", "3d8bed44df8fde6bf359806e8ff06f30dda2a9d63cf57aaff8a835d49edcbaee"),
    onet.WEIGHTS,
)
MIN_CONFIDENCE = 0.9
"""Least confidence of O-Net at which a window counts as a face."""

_WINDOW = 12  # P-Net's receptive field in pixels
_STRIDE = 2
_PYRAMID_FACTOR = 0.709  # halves the area from level to level
_MAX_PROPOSALS = 400  # the most windows that R-Net sees, even in a picture full of candidates
_MAX_REFINED = 100  # the most windows that O-Net sees
_WIDENED = 1.7
"""Factor on the picture's width for the second search. A photo that is held obliquely shows its face narrowed, down to
half its width, and no window of the first search fits it. The second one finds 47 of the 54 attacks of `celeba_spoof`
that the first misses."""


class MtcnnDetector:
    """MTCNN in ONNX Runtime: P-Net runs once per level of the pyramid, R-Net and O-Net each run on one batch."""

    name = "mtcnn"

    def __init__(
        self,
        runtime: RuntimeOptions | None = None,
        *,
        min_confidence: float = MIN_CONFIDENCE,
        min_face_px: int = 24,
        min_face_share: float = 0.05,
        max_side_px: int = 1024,
    ) -> None:
        """Load the three networks.

        Args:
            runtime: provider and threads.
            min_confidence: least confidence of O-Net for a face, 0 to 1.
            min_face_px: smallest face to look for, in pixels of the (reduced) picture; at least 12.
            min_face_share: smallest face to look for, as a share of the picture's shorter side. It bounds the pyramid:
                without it, a large picture would be searched for faces that are too small to be scored.
            max_side_px: larger pictures are reduced to this before the search.

        Raises:
            DetectorUnavailableError: a weight file is missing or is not the released one.
        """
        runtime = runtime or RuntimeOptions()
        # The size of P-Net's input changes from picture to picture, as does the batch size of the others.
        self._pnet, self._rnet, self._onet = (
            OrtSession(released(self.name, *file), runtime, fixed_shapes=False) for file in _WEIGHTS
        )
        self.provider = self._pnet.provider
        self._thresholds = (0.6, 0.7, min_confidence)
        self._min_face_px = max(min_face_px, _WINDOW)
        self._min_face_share = min_face_share
        self._max_side_px = max_side_px

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:
        """See `FaceDetector.detect`."""
        reduced, factor = shrink_to(picture, self._max_side_px)
        faces = self._search(reduced, least_share)
        if not faces:
            height, width = reduced.shape[:2]
            wide = cv2.resize(reduced, (round(width * _WIDENED), height), interpolation=cv2.INTER_LINEAR)
            faces = [
                narrow_face(face, wide.shape[1] / width)
                for face in self._search(wide.astype(np.uint8, copy=False), least_share)
            ]
        return largest_first([enlarge_face(face, factor) for face in faces])

    def _search(self, picture: Picture, least_share: float) -> list[DetectedFace]:
        boxes_N5 = self._propose(picture, max(least_share, self._min_face_share))
        boxes_N5 = self._refine(picture, boxes_N5)
        return self._locate(picture, boxes_N5)

    def _propose(self, picture: Picture, least_share: float) -> NDArray[np.float32]:
        """Run P-Net over the pyramid; returns square candidate windows."""
        height, width = picture.shape[:2]
        shorter = min(height, width)
        scale = _WINDOW / max(self._min_face_px, least_share * shorter)
        found = []
        while shorter * scale >= _WINDOW:
            size = (max(round(width * scale), _WINDOW), max(round(height * scale), _WINDOW))
            level = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            found.append(self._propose_level(level, (width / size[0], height / size[1])))
            scale *= _PYRAMID_FACTOR
        rows_N9 = np.concatenate(found) if found else np.empty((0, 9), np.float32)
        rows_N9 = rows_N9[non_maximum(rows_N9[:, :5], 0.7)][:_MAX_PROPOSALS]
        return squares(refine(rows_N9[:, :5], rows_N9[:, 5:]))

    def _propose_level(self, level: NDArray[Any], back: tuple[float, float]) -> NDArray[np.float32]:
        offsets_14hw, probabilities_12hw = run(self._pnet, normalised(level)[None])
        confidence_hw = probabilities_12hw[0, 1]
        ys, xs = np.nonzero(confidence_hw > self._thresholds[0])
        left, top = xs * float(_STRIDE), ys * float(_STRIDE)
        rows_N9 = np.stack(
            [
                left * back[0],
                top * back[1],
                (left + _WINDOW) * back[0],
                (top + _WINDOW) * back[1],
                confidence_hw[ys, xs],
                *offsets_14hw[0][:, ys, xs],
            ],
            axis=1,
        ).astype(np.float32)
        return rows_N9[non_maximum(rows_N9[:, :5], 0.5)]

    def _refine(self, picture: Picture, boxes_N5: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run R-Net, which leaves fewer and better windows."""
        if not len(boxes_N5):
            return boxes_N5
        offsets_N4, probabilities_N2 = run(self._rnet, cut_windows(picture, boxes_N5, 24))
        boxes_N5, kept = _confident(boxes_N5, probabilities_N2, self._thresholds[1])
        offsets_N4 = offsets_N4[kept]
        kept = non_maximum(boxes_N5, 0.7)[:_MAX_REFINED]
        return squares(refine(boxes_N5[kept], offsets_N4[kept]))

    def _locate(self, picture: Picture, boxes_N5: NDArray[np.float32]) -> list[DetectedFace]:
        """Run O-Net; returns the faces with their landmarks."""
        if not len(boxes_N5):
            return []
        located = locate(self._onet, picture, boxes_N5)
        kept = located.boxes_N5[:, 4] > self._thresholds[2]
        boxes_N5, points_N52 = located.boxes_N5[kept], located.points_N52[kept]
        faces = []
        for row in non_maximum(boxes_N5, 0.7, of_smaller=True):
            x1, y1, x2, y2, confidence = (float(value) for value in boxes_N5[row])
            if x2 <= x1 or y2 <= y1:
                continue
            left, right, nose, mouth_left, mouth_right = ((float(x), float(y)) for x, y in points_N52[row])
            faces.append(
                DetectedFace(Box(x1, y1, x2, y2), (left, right, nose, mouth_left, mouth_right), min(confidence, 1.0))
            )
        return faces


def _confident(
    boxes_N5: NDArray[np.float32], probabilities_N2: NDArray[Any], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The boxes above the threshold with their new confidence, and the rows that they had."""
    kept = np.nonzero(probabilities_N2[:, 1] > threshold)[0]
    boxes_N5 = boxes_N5[kept]
    boxes_N5[:, 4] = probabilities_N2[kept, 1]
    return boxes_N5, kept
