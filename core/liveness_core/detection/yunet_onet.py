"""The default detector: YuNet finds faces in a picture of 320 pixels, and O-Net confirms and places each of them.

One run of YuNet on a small picture costs a tenth of MTCNN's pyramid. What it leaves open, where exactly a face is,
O-Net says from the pixels of the picture itself. O-Net is MTCNN's last network, so box and landmarks mean the same as
MTCNN's, and crops are cut as from MTCNN's faces. `benchmarks/detectors.py` has measured it; see ADR 19.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import face_size
from liveness_core.detection import onet
from liveness_core.detection.base import largest_first
from liveness_core.detection.boxes import non_maximum
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.detection.scaling import thin_out
from liveness_core.detection.weights import released
from liveness_core.detection.yunet_network import SIDES, YunetNetwork
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Box, DetectedFace, Picture

# N faces; rows_N5 and boxes_N5 are x1, y1, x2, y2, confidence

MIN_CONFIDENCE = 0.9
"""Least confidence of O-Net at which a window counts as a face, as in MTCNN."""

_PROPOSED = 0.3  # least confidence of YuNet at which O-Net is asked
_SCALES = (0.9, 1.0, 1.1)
"""O-Net looks at three windows of these sizes around each face, and must see it in all of them. YuNet finds faces that
stand on their heads as well as others. Of those, one window shows O-Net an upright face in 9 %, all three in 1 %. The
mean of what it says also jitters less from frame to frame."""
_BATCH = 8  # the most faces that O-Net sees at once: ONNX Runtime keeps memory for each size of a batch
_MAX_FACES = 32  # the most faces of one picture
_SEEN_WELL_PX = 20  # a face that is smaller on the canvas calls for a larger one
_NARROWED = 0.6  # width over height of a box; below it the face is narrowed, as on a photo that is held obliquely
_USUAL_SHAPE = 0.8  # width over height of the box of a face from the front
_ACROSS, _DOWN = [0, 2], [1, 3]  # the columns of x and of y in a row
_LARGE_SHARE = 0.2  # faces of this share of the picture are found on the smallest canvas


@dataclass(frozen=True, slots=True)
class _Look:
    """One way to lay the picture on a canvas."""

    side: int = 320
    """Side of the canvas in pixels."""
    share: float = 1.0
    """Share of that side which the picture takes up. Less than 1 shows faces that are larger than the picture."""
    widened: float = 1.0
    """Factor on the picture's width. It shows faces that are narrowed, as on a photo that is held obliquely."""


_FIRST, _NEAR, _FINE = _Look(), _Look(side=160), _Look(side=640)
_LAST = (_Look(share=0.5), _Look(widened=1.7))


class YunetOnetDetector:
    """YuNet and O-Net in ONNX Runtime; their inputs have a few fixed sizes, so memory does not grow with pictures.

    Where YuNet proposes faces in vain, since O-Net confirms none of them, the whole of MTCNN has the last word.
    """

    name = "yunet_onet"

    def __init__(self, runtime: RuntimeOptions | None = None, *, min_confidence: float = MIN_CONFIDENCE) -> None:
        """Load the networks.

        Args:
            runtime: provider and threads.
            min_confidence: least confidence of O-Net for a face, 0 to 1.

        Raises:
            DetectorUnavailableError: a weight file is missing or is not the released one.
        """
        runtime = runtime or RuntimeOptions()
        self._yunet = YunetNetwork(self.name, runtime)
        self._onet = OrtSession(released(self.name, *onet.REWRITTEN), runtime)
        self._mtcnn = MtcnnDetector(runtime, min_confidence=min_confidence)
        self._min_confidence = min_confidence
        self.provider = self._yunet.provider

    def warm_up(self) -> None:
        """Run YuNet on each canvas and O-Net on each size of a batch that it gets."""
        for side in SIDES:
            self._yunet.find(np.zeros((side, side, 3), np.uint8), _PROPOSED)
        for faces in range(1, _BATCH + 1):
            onet.run(self._onet, np.zeros((faces * len(_SCALES), 3, onet.SIDE, onet.SIDE), np.float32))

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:
        """See `FaceDetector.detect`."""
        if least_share >= _LARGE_SHARE:  # whoever knows where the face is searches elsewhere if it is not found there
            return self._confirmed(picture, self._proposed(picture, _NEAR))
        rows_N5 = self._proposed(picture, _FIRST)
        faces = self._confirmed(picture, rows_N5)
        proposed = len(rows_N5)
        if max(picture.shape[:2]) > _FIRST.side and not _seen_well(faces, picture):
            rows_N5 = self._proposed(picture, _FINE)
            proposed += len(rows_N5)
            faces = self._confirmed(picture, rows_N5) or faces
        for look in _LAST:
            if not faces:
                rows_N5 = self._proposed(picture, look)
                proposed += len(rows_N5)
                faces = self._confirmed(picture, rows_N5)
        return faces if faces or not proposed else self._mtcnn.detect(picture)

    def _proposed(self, picture: Picture, look: _Look) -> NDArray[np.float32]:
        """Run YuNet; returns the boxes in pixels of the picture, the largest first."""
        height, width = picture.shape[:2]
        wide = width * look.widened
        factor = look.side * look.share / max(height, wide)
        inner = (max(round(wide * factor), 1), max(round(height * factor), 1))
        left, top = (look.side - inner[0]) // 2, (look.side - inner[1]) // 2
        canvas = np.zeros((look.side, look.side, 3), np.uint8)
        canvas[top : top + inner[1], left : left + inner[0]] = thin_out(picture, inner)
        rows_N5 = self._yunet.find(canvas, _PROPOSED)[:, :5]
        rows_N5[:, _ACROSS] = (rows_N5[:, _ACROSS] - left) * (width / inner[0])
        rows_N5[:, _DOWN] = (rows_N5[:, _DOWN] - top) * (height / inner[1])
        order = np.argsort(-(rows_N5[:, 2] - rows_N5[:, 0]) * (rows_N5[:, 3] - rows_N5[:, 1]), kind="stable")
        return rows_N5[order[:_MAX_FACES]]

    def _confirmed(self, picture: Picture, rows_N5: NDArray[np.float32]) -> list[DetectedFace]:
        """The proposed faces that O-Net sees in all their windows, placed where it sees them on average."""
        boxes, points = [np.empty((0, 5), np.float32)], [np.empty((0, 5, 2), np.float32)]
        for start in range(0, len(rows_N5), _BATCH):
            windows_3N5 = _windows(rows_N5[start : start + _BATCH])
            located = onet.locate(self._onet, picture, windows_3N5, quick=True)
            boxes_3N5 = located.boxes_N5.reshape(len(_SCALES), -1, 5)
            kept = boxes_3N5[..., 4].min(axis=0) >= self._min_confidence
            boxes_N5 = boxes_3N5.mean(axis=0)
            # A face that stands on its head may pass for once, but then O-Net is not quite sure in any window.
            boxes_N5[:, 4] = boxes_3N5[..., 4].max(axis=0)
            boxes.append(boxes_N5[kept])
            points.append(located.points_N52.reshape(len(_SCALES), -1, 5, 2).mean(axis=0)[kept])
        boxes_N5, points_N52 = np.concatenate(boxes), np.concatenate(points)
        faces = []
        for row in non_maximum(boxes_N5, 0.7, of_smaller=True):  # O-Net may place two proposals on one face
            x1, y1, x2, y2, confidence = (float(value) for value in boxes_N5[row])
            if x2 <= x1 or y2 <= y1:
                continue
            left, right, nose, mouth_left, mouth_right = ((float(x), float(y)) for x, y in points_N52[row])
            landmarks = (left, right, nose, mouth_left, mouth_right)
            faces.append(DetectedFace(Box(x1, y1, x2, y2), landmarks, min(confidence, 1.0)))
        return largest_first(faces)


def _windows(rows_N5: NDArray[np.float32]) -> NDArray[np.float32]:
    """The windows that O-Net sees, for each of `_SCALES` one of each box.

    They are squares around the boxes, and narrower than that around boxes that are narrowed.
    """
    centres_N2 = (rows_N5[:, 0:2] + rows_N5[:, 2:4]) / 2
    sides_N2 = rows_N5[:, 2:4] - rows_N5[:, 0:2]
    halves_N2 = np.repeat(sides_N2.max(axis=1, keepdims=True), 2, axis=1) / 2
    narrow_N = sides_N2[:, 0] < _NARROWED * sides_N2[:, 1]
    halves_N2[narrow_N, 0] = sides_N2[narrow_N, 0] / _USUAL_SHAPE / 2
    return np.concatenate(
        [
            np.concatenate([centres_N2 - scale * halves_N2, centres_N2 + scale * halves_N2, rows_N5[:, 4:]], axis=1)
            for scale in _SCALES
        ]
    )


def _seen_well(faces: Sequence[DetectedFace], picture: Picture) -> bool:
    """Whether the first canvas shows a face that is large enough for smaller ones not to matter."""
    largest_px = face_size(faces[0].box) if faces else 0.0
    return largest_px * _FIRST.side >= _SEEN_WELL_PX * int(max(picture.shape[:2]))
