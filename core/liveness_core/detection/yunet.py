"""YuNet (Wu et al., 2023), run by OpenCV's FaceDetectorYN from a model file."""

import threading
from pathlib import Path

import cv2
import numpy as np

from liveness_core.detection.base import DetectorModelError, DetectorUnavailableError, largest_first
from liveness_core.detection.scaling import enlarge_face, shrink_to
from liveness_core.types import Box, DetectedFace, Picture

MIN_CONFIDENCE = 0.6
"""Least confidence of YuNet at which a box counts as a face."""


class YunetDetector:
    """The detector YuNet, with five landmarks. It runs on the CPU, in OpenCV's own threads."""

    name = "yunet"
    provider = "cpu"

    def __init__(self, model: str | Path, *, min_confidence: float = MIN_CONFIDENCE, max_side_px: int = 640) -> None:
        """Load a network.

        Args:
            model: an ONNX file from OpenCV's model zoo.
            min_confidence: least confidence of a face, 0 to 1.
            max_side_px: larger pictures are reduced to this before the search.

        Raises:
            DetectorModelError: the file is missing.
            DetectorUnavailableError: OpenCV cannot run it.
        """
        if not Path(model).is_file():
            raise DetectorModelError(f"yunet: {model} is not a file")
        try:
            self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_confidence, 0.3, 1000)
            # OpenCV loads any network; only running it shows whether it is a YuNet.
            self._network.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise DetectorUnavailableError(f"yunet: OpenCV cannot run {model}: {error}") from error
        self._lock = threading.Lock()  # OpenCV's object keeps the input size as its state
        self._max_side_px = max_side_px

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:  # noqa: ARG002 (searches all sizes at once)
        """See `FaceDetector.detect`."""
        reduced, factor = shrink_to(picture, self._max_side_px)
        bgr = np.ascontiguousarray(reduced[..., ::-1])
        with self._lock:
            self._network.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = self._network.detect(bgr)
        faces = []
        for row in rows if rows is not None else []:
            x, y, width, height, *points, confidence = (float(value) for value in row)
            if width <= 0 or height <= 0:
                continue
            left, right, nose, mouth_left, mouth_right = zip(points[0::2], points[1::2], strict=True)
            face = DetectedFace(
                Box(x, y, x + width, y + height), (left, right, nose, mouth_left, mouth_right), min(confidence, 1.0)
            )
            faces.append(enlarge_face(face, factor))
        return largest_first(faces)
