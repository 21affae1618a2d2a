"""SCRFD (Guo et al., 2021), run by insightface's model zoo from a model file or an installed model pack."""

from importlib import import_module
from pathlib import Path
from typing import Any

import cv2

from liveness_core.detection.base import DetectorModelError, DetectorUnavailableError, largest_first
from liveness_core.detection.scaling import enlarge_face, shrink_to
from liveness_core.runtime import NetworkError, OrtSession, RuntimeOptions
from liveness_core.types import Box, DetectedFace, Picture

MIN_CONFIDENCE = 0.5
"""Least confidence of SCRFD at which a box counts as a face."""

_INPUT_SIZE = (640, 640)
_MAX_ASPECT = 64


class ScrfdDetector:
    """The detector SCRFD, with five landmarks."""

    name = "scrfd"

    def __init__(
        self,
        model: str | Path,
        runtime: RuntimeOptions | None = None,
        *,
        min_confidence: float = MIN_CONFIDENCE,
        packs_root: Path = Path("~/.insightface/models"),
    ) -> None:
        """Load a network.

        Args:
            model: an ONNX file, or the name of a model pack under `packs_root`, e.g. `buffalo_l`.
            runtime: provider and threads.
            min_confidence: least confidence of a face, 0 to 1.
            packs_root: where insightface keeps model packs.

        Raises:
            DetectorModelError: the model is missing.
            DetectorUnavailableError: insightface is missing, or the model cannot be run or has no landmarks.
        """
        path = _find(model, packs_root.expanduser())
        try:
            zoo = import_module("insightface.model_zoo.scrfd")
        except ImportError as error:
            raise DetectorUnavailableError(
                f"scrfd: insightface cannot be imported ({error}): install it with "
                "`pip install 'face-liveness[insightface]'` and then `pip install --no-deps insightface==2.1`"
            ) from error
        try:
            session = OrtSession(path.read_bytes(), runtime, fixed_shapes=False)
            self.provider = session.provider
            # insightface gets our session, so that it runs on the provider and threads that were asked for.
            self._scrfd: Any = zoo.SCRFD(str(path), session=session.native, static_shape_sessions=False)
        except (NetworkError, OSError) as error:
            raise DetectorUnavailableError(f"scrfd: {path} cannot be loaded: {error}") from error
        if not self._scrfd.use_kps:
            raise DetectorUnavailableError(f"scrfd: {path.name} gives no landmarks: use a model whose name says `kps`")
        self._min_confidence = min_confidence

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:  # noqa: ARG002 (searches all sizes at once)
        """See `FaceDetector.detect`."""
        reduced, factor = shrink_to(picture, 1280)
        # insightface would shrink the short side of such a strip to zero and fail; no face fits into it anyway.
        if max(reduced.shape[:2]) > _MAX_ASPECT * min(reduced.shape[:2]):
            return []
        found = self._search(reduced, 0)
        if not found:
            # A face that fills the picture is too large for the network's anchors: search again with a black border.
            found = self._search(reduced, max(reduced.shape[:2]))
        return largest_first([enlarge_face(face, factor) for face in found])

    def _search(self, picture: Picture, border: int) -> list[DetectedFace]:
        """Find faces after adding a black border of this many pixels; coordinates are those of the picture itself."""
        bgr = cv2.copyMakeBorder(picture[..., ::-1], border, border, border, border, cv2.BORDER_CONSTANT)
        rows, landmarks = self._scrfd.detect(bgr, input_size=_INPUT_SIZE, det_thresh=self._min_confidence)
        faces = []
        for row, points in zip(rows, landmarks, strict=True):
            *corners, confidence = (float(value) for value in row)
            x1, y1, x2, y2 = (value - border for value in corners)
            if x2 <= x1 or y2 <= y1:
                continue
            left, right, nose, mouth_left, mouth_right = ((float(x) - border, float(y) - border) for x, y in points)
            faces.append(DetectedFace(Box(x1, y1, x2, y2), (left, right, nose, mouth_left, mouth_right), confidence))
        return faces


def _find(model: str | Path, packs_root: Path) -> Path:
    path = Path(model)
    if path.is_file():
        return path
    pack = packs_root / str(model)
    found = sorted([*pack.glob("det_*.onnx"), *pack.glob("scrfd*.onnx")])
    if not found:
        raise DetectorModelError(
            f"scrfd: {model} is neither a model file nor a model pack with a detector under {packs_root}"
        )
    return found[0]
