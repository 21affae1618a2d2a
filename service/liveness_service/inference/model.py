"""The loaded model: a verified bundle and the detector that cuts its crops."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import structlog

from liveness_core.bundle import Bundle, BundleError, BundleFolderError, default_bundle_path, load_bundle
from liveness_core.detection import (
    DetectorModelError,
    DetectorSpec,
    DetectorUnavailableError,
    FaceDetector,
    create_detector,
)
from liveness_core.runtime import ProviderError, RuntimeOptions
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """What is needed to score; it exists only once verified."""

    bundle: Bundle
    detector: FaceDetector


@dataclass(frozen=True, slots=True)
class ModelFault:
    """Why there is no model."""

    file: str
    """What is at fault: a file of the bundle, the detector, or the execution provider."""
    reason: str


def load_model(settings: Settings, fetch: Callable[[], Path] | None = None) -> Model | ModelFault:
    """Load, verify and warm up. Whatever goes wrong becomes a fault: the service then starts without a model.

    Args:
        settings: how to run it.
        fetch: gives the bundle's folder; that of `LIVENESS_BUNDLE_PATH`, or the default one, where it is None.
    """
    cv2.setNumThreads(1)  # requests run side by side; OpenCV's own threads would fight them for the cores
    try:
        bundle = load_bundle(
            fetch() if fetch else settings.bundle_path or default_bundle_path(),
            precision=settings.precision,
            runtime=RuntimeOptions(settings.provider, settings.intra_op_threads, settings.device_id),
        )
        model = Model(bundle, _detector(bundle, settings))
        # The encoder has run in the bundle's self-test; the detector runs here, before the first user waits for it.
        model.detector.detect(np.zeros((480, 640, 3), np.uint8))
    except BundleFolderError as error:
        return _fault(error.file, f"{error.reason}: check LIVENESS_BUNDLE_PATH")
    except BundleError as error:
        return _fault(error.file, error.reason)
    except ProviderError as error:
        return _fault("execution provider", str(error))
    except DetectorModelError as error:
        return _fault("face detector", f"{error}: check LIVENESS_DETECTOR_MODEL")
    except DetectorUnavailableError as error:
        return _fault("face detector", str(error))
    except Exception as error:
        log.exception("model_load_failed")
        return _fault("model", f"loading failed unexpectedly ({type(error).__name__}): see the service's log")
    log.info(
        "model_loaded",
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        precision=bundle.variant.precision,
        provider=bundle.scorer.provider,
        detector=model.detector.name,
        path=str(bundle.path),
    )
    return model


def _fault(file: str, reason: str) -> ModelFault:
    log.error("model_unavailable", file=file, reason=reason)
    return ModelFault(file, reason)


def _detector(bundle: Bundle, settings: Settings) -> FaceDetector:
    trained_with = bundle.manifest.detector
    name = settings.detector or trained_with.name
    if name != trained_with.name:
        log.warning(
            "other_detector", detector=name, trained_with=trained_with.name, note="the bundle's figures do not hold"
        )
    spec = trained_with if name == trained_with.name else DetectorSpec(name=name)
    if settings.detector_min_confidence is not None:
        spec = DetectorSpec(name=name, min_confidence=settings.detector_min_confidence)
    # One thread: pictures are searched side by side.
    runtime = RuntimeOptions(settings.provider, 1, settings.device_id)
    return create_detector(spec, model=settings.detector_model, runtime=runtime)
