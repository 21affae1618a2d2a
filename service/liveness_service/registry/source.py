"""Where engines come from: bundles are fetched, verified, warmed up and started."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import structlog

from liveness_core.bundle import BundleError, default_bundle_path
from liveness_service.errors import ModelUnavailableError
from liveness_service.registry.engine import Engine, Threads
from liveness_service.registry.store import Available, BundleStore
from liveness_service.scoring.model import Model, load_model
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


class EngineSource(Protocol):
    """What the registry takes engines from; `BundleSource` is the real one.

    Every method but `start` blocks and is called in a thread; what goes wrong is a `ModelUnavailableError`.
    """

    @property
    def has_store(self) -> bool:
        """Whether there is a store to choose bundles from."""
        ...

    def available(self) -> list[Available]:
        """The bundles of the store; empty without one."""
        ...

    def digest(self, reference: str) -> str:
        """SHA-256 of the manifest of the bundle that this reference means now."""
        ...

    def load(self, reference: str | None) -> Model:
        """Fetch, verify and warm up a bundle; None means the one that the settings name."""
        ...

    def start(self, reference: str | None, model: Model, *, as_shadow: bool) -> Engine:
        """Put a model to work; an event loop must be running."""
        ...

    def close(self) -> None:
        """Stop the threads that the engines worked in."""
        ...


class BundleSource:
    """Engines of bundles in a store, or in the folder that the settings name."""

    def __init__(self, settings: Settings, shadow_threads: Threads, on_batch: Callable[[int], None]) -> None:
        """Load nothing yet.

        Args:
            settings: where bundles are and how they run.
            shadow_threads: for engines that only look on; the caller stops them.
            on_batch: told the size of each batch that answers are made of.
        """
        self._settings = settings
        self._store = BundleStore(settings.models_url, settings.models_cache) if settings.models_url else None
        self._threads = Threads(
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare"),
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare-clip"),
        )
        self._shadow_threads = shadow_threads
        self._on_batch = on_batch

    @property
    def has_store(self) -> bool:
        """See `EngineSource`."""
        return self._store is not None

    def available(self) -> list[Available]:
        """See `EngineSource`."""
        with _as_model_fault():
            return [] if self._store is None else self._store.available()

    def digest(self, reference: str) -> str:
        """See `EngineSource`."""
        with _as_model_fault():
            return self._stored(reference).manifest(reference).manifest_sha256

    def load(self, reference: str | None) -> Model:
        """See `EngineSource`."""
        try:
            with _as_model_fault():
                if reference is None:
                    return load_model(self._settings.bundle_path or default_bundle_path(), self._settings)
                store = self._stored(reference)
                model = load_model(store.fetch(reference), self._settings)
                # A folder may have changed since it was fetched.
                store.check(reference, model.bundle.manifest)
                return model
        except ModelUnavailableError as error:
            log.error("model_unavailable", file=error.file, reason=error.reason)
            raise

    def start(self, reference: str | None, model: Model, *, as_shadow: bool) -> Engine:
        """See `EngineSource`."""
        if as_shadow:
            return Engine(reference, model, self._settings, self._shadow_threads)
        return Engine(reference, model, self._settings, self._threads, self._on_batch)

    def close(self) -> None:
        """See `EngineSource`."""
        self._threads.shutdown()

    def _stored(self, reference: str) -> BundleStore:
        if self._store is None:
            raise BundleError("LIVENESS_MODELS_URL", f"is not set: there is no store to take {reference} from")
        return self._store


@contextmanager
def _as_model_fault() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise ModelUnavailableError(error.file, error.reason) from error
