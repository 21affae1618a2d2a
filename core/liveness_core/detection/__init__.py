"""Face detectors, all used through the Protocol `FaceDetector`, and the function that makes the chosen one."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from liveness_core.detection import mtcnn, scrfd, yunet, yunet_onet
from liveness_core.detection.base import DetectorModelError, DetectorUnavailableError, FaceDetector
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.detection.scrfd import ScrfdDetector
from liveness_core.detection.yunet import YunetDetector
from liveness_core.detection.yunet_onet import YunetOnetDetector
from liveness_core.runtime import RuntimeOptions

__all__ = [
    "DetectorModelError",
    "DetectorName",
    "DetectorSpec",
    "DetectorUnavailableError",
    "FaceDetector",
    "create_detector",
    "warm_up",
]

DetectorName = Literal["mtcnn", "scrfd", "yunet", "yunet_onet"]

_DEFAULT: DetectorName = "yunet_onet"
# Confidences are not comparable between detectors.
_MIN_CONFIDENCE = {
    "mtcnn": mtcnn.MIN_CONFIDENCE,
    "scrfd": scrfd.MIN_CONFIDENCE,
    "yunet": yunet.MIN_CONFIDENCE,
    "yunet_onet": yunet_onet.MIN_CONFIDENCE,
}


class DetectorSpec(BaseModel):
    """Which detector finds the faces, and with which threshold. A bundle names the one that its training used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DetectorName = _DEFAULT
    min_confidence: float = Field(default=_MIN_CONFIDENCE[_DEFAULT], ge=0.1, le=0.999)
    """Least confidence of a face, on this detector's own scale; by default the detector's own limit."""

    @model_validator(mode="before")
    @classmethod
    def _own_limit(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("min_confidence") is None:
            # An unknown name is left to the field's own check.
            name = given.get("name", _DEFAULT)
            return {**given, "min_confidence": _MIN_CONFIDENCE.get(name, _MIN_CONFIDENCE[_DEFAULT])}
        return given


def create_detector(
    spec: DetectorSpec, *, model: str | None = None, runtime: RuntimeOptions | None = None
) -> FaceDetector:
    """Make the detector that `spec` names.

    Args:
        spec: name and threshold.
        model: model file (scrfd, yunet) or model pack (scrfd). The others have their own and ignore this.
        runtime: provider and threads.

    Raises:
        DetectorModelError: it needs a model file, and none was given or there is none.
        DetectorUnavailableError: its package or weights are missing or unusable.
    """
    match spec.name:
        case "mtcnn":
            return MtcnnDetector(runtime, min_confidence=spec.min_confidence)
        case "yunet_onet":
            return YunetOnetDetector(runtime, min_confidence=spec.min_confidence)
        case "scrfd":
            return ScrfdDetector(_needed(model, spec), runtime, min_confidence=spec.min_confidence)
        case "yunet":
            return YunetDetector(_needed(model, spec), min_confidence=spec.min_confidence)
    # `model_copy` and `model_construct` check no names.
    raise DetectorUnavailableError(
        f"there is no face detector {spec.name!r}: choose one of {', '.join(_MIN_CONFIDENCE)}"
    )


def warm_up(detector: FaceDetector) -> None:
    """Run a detector's networks once in every size that they get: the first runs take longer than the others.

    Raises:
        NetworkError: a run failed.
    """
    if isinstance(detector, YunetOnetDetector):
        detector.warm_up()
    detector.detect(np.zeros((480, 640, 3), np.uint8))


def _needed(model: str | None, spec: DetectorSpec) -> str:
    if model is None:
        raise DetectorModelError(f"{spec.name} needs a model file")
    return model
