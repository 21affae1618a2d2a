"""Face detectors, each behind the Protocol `FaceDetector`, and the one place that chooses among them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from liveness_core.detection.base import DetectorUnavailableError, FaceDetector
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.detection.scrfd import ScrfdDetector
from liveness_core.detection.yunet import YunetDetector
from liveness_core.runtime import RuntimeOptions

__all__ = ["DetectorName", "DetectorSpec", "DetectorUnavailableError", "FaceDetector", "create_detector"]

DetectorName = Literal["mtcnn", "scrfd", "yunet"]


class DetectorSpec(BaseModel):
    """Which detector cuts the crops, and how; a bundle names the one that its training used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DetectorName = "mtcnn"
    min_confidence: float = Field(default=0.9, ge=0.1, le=0.999)
    """Least confidence for a face, on this detector's own scale."""


def create_detector(
    spec: DetectorSpec, *, model: str | None = None, runtime: RuntimeOptions | None = None
) -> FaceDetector:
    """Make the detector that `spec` names.

    Args:
        spec: name and threshold.
        model: model file (scrfd, yunet) or model pack (scrfd); mtcnn brings its own.
        runtime: provider and threads.

    Raises:
        DetectorUnavailableError: its package or weights are missing.
    """
    if spec.name == "mtcnn":
        return MtcnnDetector(runtime, min_confidence=spec.min_confidence)
    if model is None:
        raise DetectorUnavailableError(f"{spec.name} needs a model file: set LIVENESS_DETECTOR_MODEL")
    if spec.name == "scrfd":
        return ScrfdDetector(model, runtime, min_confidence=spec.min_confidence)
    return YunetDetector(model, min_confidence=spec.min_confidence)
