"""Loads a model: a verified bundle, and the face detector that finds the faces to cut its crops from."""

from dataclasses import dataclass
from pathlib import Path

import structlog

from liveness_core.bundle import Bundle, BundleError, BundleFolderError, SignatureError, load_bundle
from liveness_core.bundle.load import SignatureCheck
from liveness_core.detection import (
    DetectorModelError,
    DetectorSpec,
    DetectorUnavailableError,
    FaceDetector,
    create_detector,
    warm_up,
)
from liveness_core.runtime import Provider, ProviderError, RuntimeOptions, candidates
from liveness_service.cores import available_cores
from liveness_service.errors import ModelUnavailableError
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A verified bundle and its face detector."""

    bundle: Bundle
    detector: FaceDetector

    @property
    def providers(self) -> dict[str, str]:
        """What each network runs on, by the network's name; `detector` are those that find faces."""
        return self.bundle.providers | {"detector": self.detector.provider}


def load_model(path: Path, settings: Settings) -> Model:
    """Load a bundle, verify it and warm it up.

    Where the provider is chosen automatically, the fastest one that is installed is tried first. One that does not
    work, leaves nodes to the CPU or does not give the golden scores is passed over, with a warning.

    Args:
        path: the bundle's folder.
        settings: precision, provider, detector, and whose signature the bundle needs.

    Raises:
        ModelUnavailableError: the bundle cannot be used; the error names the file at fault and the reason.
    """
    *preferred, last = _candidates(settings.provider)
    passed_over = []
    for provider in preferred:
        try:
            model = _load(path, settings, provider)
        except ModelUnavailableError as error:
            passed_over.append(f"{provider}: {error.reason}")
        else:
            break
    else:
        model = _load(path, settings, last)
    if passed_over:
        log.warning("provider_passed_over", reasons=passed_over, goes_on_with=model.bundle.scorer.provider)
    _log_other_detector(model)
    log.info(
        "model_loaded",
        name=model.bundle.manifest.name,
        version=model.bundle.manifest.version,
        precision=model.bundle.variant.precision,
        provider=model.bundle.scorer.provider,
        providers=model.providers,
        detector=model.detector.name,
        signed_by=model.bundle.signed_by,
        path=str(model.bundle.path),
    )
    return model


def _candidates(provider: Provider) -> tuple[Provider, ...]:
    try:
        return candidates(provider)
    except ProviderError as error:  # a plugin that is installed and cannot be loaded
        log.warning("provider_passed_over", reasons=[str(error)], goes_on_with="cpu")
        return ("cpu",)


def _load(path: Path, settings: Settings, provider: Provider) -> Model:
    try:
        bundle = load_bundle(
            path,
            precision=settings.precision,
            runtime=_runtime(settings, provider, min(settings.intra_op_threads, available_cores())),
            trusted=trusted_keys(settings.bundle_public_keys),
        )
        model = Model(bundle, _detector(bundle, settings, provider))
        # Before the first user waits for what only the first runs do.
        bundle.scorer.warm_up(settings.max_batch_size)
        warm_up(model.detector)
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
    return model


def _runtime(settings: Settings, provider: Provider, threads: int) -> RuntimeOptions:
    return RuntimeOptions(
        provider,
        threads,
        settings.device_id,
        gpu_memory_mb=settings.gpu_memory_mb,
        cuda_graphs=settings.cuda_graphs,
        most_images=settings.max_batch_size,
        cache=settings.provider_cache,
    )


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


def _log_other_detector(model: Model) -> None:
    trained_with = model.bundle.manifest.detector
    if model.detector.name != trained_with.name:
        log.warning(
            "other_detector",
            detector=model.detector.name,
            trained_with=trained_with.name,
            note="the error rates in the bundle were not measured with this detector",
        )


def _detector(bundle: Bundle, settings: Settings, provider: Provider) -> FaceDetector:
    # One thread for each picture: several pictures are searched side by side. Workers have no right to a GPU's device
    # files, so the faces of uploads are found on the processor unless threads of the service do it.
    runtime = _runtime(settings, "cpu" if settings.worker_count else provider, 1)
    spec = detector_spec(bundle.manifest.detector, settings)
    return create_detector(spec, model=settings.detector_model, runtime=runtime)
