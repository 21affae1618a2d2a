"""The default detector: YuNet finds faces in a picture of 320 pixels, and O-Net confirms and places each of them.

One run of YuNet on a small picture costs a tenth of MTCNN's pyramid. What it leaves open, where exactly a face is,
O-Net says from the pixels of the picture itself. O-Net is MTCNN's last network, so box and landmarks mean the same as
MTCNN's, and crops are cut as from MTCNN's faces. `benchmarks/detectors.py` has measured it; see ADR 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import face_size
from liveness_core.detection import onet
from liveness_core.detection.base import largest_first
from liveness_core.detection.boxes import non_maximum, squares
from liveness_core.detection.scaling import thin_out
from liveness_core.detection.weights import released
from liveness_core.detection.yunet_network import YunetNetwork
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Box, DetectedFace, Picture

# N faces; rows_N15 are x1, y1, x2, y2, confidence, then x and y of the five landmarks

MIN_CONFIDENCE = 0.9
"""Least confidence of O-Net at which a window counts as a face, as in MTCNN."""

_PROPOSED = 0.3  # least confidence of YuNet at which O-Net is asked
_SURE = 1.5  # this times YuNet's confidence counts as much as O-Net's where O-Net confirms no face of the picture
_MOST_ALONE = 0.999  # the most that YuNet's confidence counts: without O-Net no face is one for sure
_ONET_SEES = 0.3  # least confidence of O-Net at which its landmarks are better than YuNet's
_BATCH = 8  # the most windows that O-Net sees at once: ONNX Runtime keeps memory for each size of a batch
_MAX_FACES = 32  # the most faces of one picture
_SEEN_WELL_PX = 20  # a face that is smaller on the canvas calls for a larger one
_NARROWED = 0.6  # width over height of a box; below it the face is narrowed, as on a photo that is held obliquely
_USUAL_SHAPE = 0.8  # width over height of the box of a face from the front
_ACROSS, _DOWN = [0, 2, 5, 7, 9, 11, 13], [1, 3, 6, 8, 10, 12, 14]  # the columns of x and of y in a row
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look shows, in pixels of the picture."""

    boxes_N4: NDArray[np.float32]
    points_N52: NDArray[np.float32]
    yunet_N: NDArray[np.float32]
    """YuNet's confidences."""
    onet_N: NDArray[np.float32]
    """O-Net's confidences."""

    def confirmed(self, least: float) -> list[DetectedFace]:
        """The faces that O-Net is so sure of, the largest first."""
        return self._faces(self.onet_N, least)

    def sure(self, least: float) -> list[DetectedFace]:
        """The faces that YuNet alone is sure enough of, the largest first."""
        return self._faces(np.minimum(self.yunet_N * _SURE, _MOST_ALONE), least)

    def _faces(self, confidence_N: NDArray[np.float32], least: float) -> list[DetectedFace]:
        faces = []
        for row in np.nonzero(confidence_N >= least)[0]:
            x1, y1, x2, y2 = (float(value) for value in self.boxes_N4[row])
            left, right, nose, mouth_left, mouth_right = ((float(x), float(y)) for x, y in self.points_N52[row])
            landmarks = (left, right, nose, mouth_left, mouth_right)
            faces.append(DetectedFace(Box(x1, y1, x2, y2), landmarks, min(float(confidence_N[row]), 1.0)))
        return largest_first(faces)


class YunetOnetDetector:
    """YuNet and O-Net in ONNX Runtime; their inputs have a few fixed sizes, so memory does not grow with pictures."""

    name = "yunet_onet"

    def __init__(self, runtime: RuntimeOptions | None = None, *, min_confidence: float = MIN_CONFIDENCE) -> None:
        """Load the two networks.

        Args:
            runtime: provider and threads.
            min_confidence: least confidence of O-Net for a face, 0 to 1. Where O-Net confirms no face of a picture,
                YuNet's word counts if it is surer than two thirds of this.

        Raises:
            DetectorUnavailableError: a weight file is missing or is not the released one.
        """
        runtime = runtime or RuntimeOptions()
        self._yunet = YunetNetwork(self.name, runtime)
        self._onet = OrtSession(released(self.name, *onet.WEIGHTS), runtime)
        self._min_confidence = min_confidence

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:
        """See `FaceDetector.detect`."""
        near = least_share >= _LARGE_SHARE
        least = self._min_confidence
        looks = [self._look(picture, _NEAR if near else _FIRST)]
        if not near and max(picture.shape[:2]) > _FIRST.side and not _seen_well(looks[0].confirmed(least), picture):
            looks.insert(0, self._look(picture, _FINE))
        for found in looks:
            if confirmed := found.confirmed(least):
                return confirmed
        for look in _LAST:
            looks.append(self._look(picture, look))
            if confirmed := looks[-1].confirmed(least):
                return confirmed
        return next((sure for found in looks if (sure := found.sure(least))), [])

    def _look(self, picture: Picture, look: _Look) -> _Found:
        """Search one canvas, and ask O-Net about what YuNet proposes."""
        height, width = picture.shape[:2]
        wide = width * look.widened
        factor = look.side * look.share / max(height, wide)
        inner = (max(round(wide * factor), 1), max(round(height * factor), 1))
        left, top = (look.side - inner[0]) // 2, (look.side - inner[1]) // 2
        canvas = np.zeros((look.side, look.side, 3), np.uint8)
        canvas[top : top + inner[1], left : left + inner[0]] = thin_out(picture, inner)
        rows_N15 = self._yunet.find(canvas, _PROPOSED)
        rows_N15[:, _ACROSS] = (rows_N15[:, _ACROSS] - left) * (width / inner[0])
        rows_N15[:, _DOWN] = (rows_N15[:, _DOWN] - top) * (height / inner[1])
        order = np.argsort(-(rows_N15[:, 2] - rows_N15[:, 0]) * (rows_N15[:, 3] - rows_N15[:, 1]), kind="stable")
        rows_N15 = rows_N15[order[:_MAX_FACES]]
        parts = [
            onet.locate(self._onet, picture, _windows(rows_N15[start : start + _BATCH]), quick=True)
            for start in range(0, len(rows_N15), _BATCH)
        ]
        boxes_N5 = np.concatenate([np.empty((0, 5), np.float32), *(part.boxes_N5 for part in parts)])
        points_N52 = np.concatenate([np.empty((0, 5, 2), np.float32), *(part.points_N52 for part in parts)])
        unseen_N = (boxes_N5[:, 4] < _ONET_SEES) | (boxes_N5[:, 2:4] <= boxes_N5[:, 0:2]).any(axis=1)
        boxes_N5[unseen_N, :4] = rows_N15[unseen_N, :4]
        points_N52[unseen_N] = rows_N15[unseen_N, 5:].reshape(-1, 5, 2)
        # O-Net may place two proposals on one face.
        kept = non_maximum(boxes_N5, 0.7, of_smaller=True)
        return _Found(boxes_N5[kept, :4], points_N52[kept], rows_N15[kept, 4], boxes_N5[kept, 4])


def _windows(rows_N15: NDArray[np.float32]) -> NDArray[np.float32]:
    """The windows that O-Net sees: squares around the boxes, and narrower ones around boxes that are narrowed."""
    windows_N5 = squares(rows_N15[:, :5])
    sides_N2 = rows_N15[:, 2:4] - rows_N15[:, 0:2]
    narrow_N = sides_N2[:, 0] < _NARROWED * sides_N2[:, 1]
    centres_N = (rows_N15[:, 0] + rows_N15[:, 2]) / 2
    halves_N = sides_N2[:, 0] / _USUAL_SHAPE / 2
    windows_N5[:, 0] = np.where(narrow_N, centres_N - halves_N, windows_N5[:, 0])
    windows_N5[:, 2] = np.where(narrow_N, centres_N + halves_N, windows_N5[:, 2])
    return windows_N5


def _seen_well(faces: Sequence[DetectedFace], picture: Picture) -> bool:
    """Whether the first canvas shows a face that is large enough for smaller ones not to matter."""
    largest_px = face_size(faces[0].box) if faces else 0.0
    return largest_px * _FIRST.side >= _SEEN_WELL_PX * int(max(picture.shape[:2]))
