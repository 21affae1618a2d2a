"""Loads a model: a verified bundle, and the face detector that finds the faces to cut its crops from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from liveness_core.bundle import Bundle, BundleError, BundleFolderError, SignatureError, load_bundle
from liveness_core.bundle.load import SignatureCheck
from liveness_core.detection import (
    DetectorModelError,
    DetectorSpec,
    DetectorUnavailableError,
    FaceDetector,
    create_detector,
)
from liveness_core.runtime import ProviderError, RuntimeOptions
from liveness_service.errors import ModelUnavailableError
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A verified bundle and its face detector."""

    bundle: Bundle
    detector: FaceDetector


def load_model(path: Path, settings: Settings) -> Model:
    """Load a bundle, verify it and warm it up.

    Args:
        path: the bundle's folder.
        settings: precision, provider, detector, and whose signature the bundle needs.

    Raises:
        ModelUnavailableError: the bundle cannot be used; the error names the file at fault and the reason.
    """
    try:
        bundle = load_bundle(
            path,
            precision=settings.precision,
            runtime=RuntimeOptions(settings.provider, settings.intra_op_threads, settings.device_id),
            trusted=trusted_keys(settings.bundle_public_keys),
        )
        model = Model(bundle, _detector(bundle, settings))
        # The encoder has run in the bundle's self-test; the detector runs here, before the first user waits for it.
        model.detector.detect(np.zeros((480, 640, 3), np.uint8))
    except BundleFolderError as error:
        raise ModelUnavailableError(error.file, f"{error.reason}: check LIVENESS_BUNDLE_PATH") from error
    except SignatureError as error:
        raise ModelUnavailableError(error.file, f"{error.reason}; LIVENESS_BUNDLE_PUBLIC_KEYS asks for it") from error
    except BundleError as error:
        raise ModelUnavailableError(error.file, error.reason) from error
    except ProviderError as error:
        raise ModelUnavailableError("execution provider", str(error)) from error
    except DetectorModelError as error:
        raise ModelUnavailableError("face detector", f"{error}: check LIVENESS_DETECTOR_MODEL") from error
    except DetectorUnavailableError as error:
        raise ModelUnavailableError("face detector", str(error)) from error
    except Exception as error:
        log.exception("model_load_failed")
        raise ModelUnavailableError(
            "model", f"loading failed unexpectedly ({type(error).__name__}): see the service's log"
        ) from error
    log.info(
        "model_loaded",
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        precision=bundle.variant.precision,
        provider=bundle.scorer.provider,
        detector=model.detector.name,
        signed_by=bundle.signed_by,
        path=str(bundle.path),
    )
    return model


def trusted_keys(path: Path | None) -> SignatureCheck | None:
    """Whose signature a bundle needs; None where no keys are set. The keys are read anew for each bundle.

    Raises:
        BundleError: the keys cannot be read. No bundle is accepted then.
    """
    if path is None:
        return None
    # Imported here: a service that asks for no signature does without 11 MB of `cryptography`.
    from liveness_core.bundle.signature import KeyFileError, TrustedKeys

    try:
        return TrustedKeys.read(path)
    except KeyFileError as error:
        raise BundleError("LIVENESS_BUNDLE_PUBLIC_KEYS", str(error)) from error


def detector_spec(trained_with: DetectorSpec, settings: Settings) -> DetectorSpec:
    """The detector that the settings ask for, with its threshold; by default the one that the bundle names."""
    name = settings.detector or trained_with.name
    if settings.detector_min_confidence is not None:
        return DetectorSpec(name=name, min_confidence=settings.detector_min_confidence)
    return trained_with if name == trained_with.name else DetectorSpec(name=name)


def _detector(bundle: Bundle, settings: Settings) -> FaceDetector:
    trained_with = bundle.manifest.detector
    name = settings.detector or trained_with.name
    if name != trained_with.name:
        log.warning(
            "other_detector",
            detector=name,
            trained_with=trained_with.name,
            note="the error rates in the bundle were not measured with this detector",
        )
    # One thread for each picture: several pictures are searched side by side.
    runtime = RuntimeOptions(settings.provider, 1, settings.device_id)
    return create_detector(detector_spec(trained_with, settings), model=settings.detector_model, runtime=runtime)
