"""Makes engines: fetches, verifies and warms up bundles, and starts them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import structlog

from liveness_core.bundle import BundleError, default_bundle_path
from liveness_core.runtime import Provider
from liveness_service.cores import available_cores
from liveness_service.errors import ModelUnavailableError
from liveness_service.registry.engine import Engine, Threads
from liveness_service.registry.store import Available, BundleStore
from liveness_service.scoring.model import Model, load_model
from liveness_service.scoring.spare_cores import SpareCores
from liveness_service.settings import Settings
from liveness_service.workers.preparer import Pools

log = structlog.get_logger(__name__)


class EngineSource(Protocol):
    """Where the registry gets its engines; `BundleSource` is the implementation for production.

    `available`, `digest` and `load` block, so they are called in a thread; when they fail they raise
    `ModelUnavailableError`.
    """

    @property
    def has_store(self) -> bool:
        """Whether the settings name a store to choose bundles from."""
        ...

    def available(self) -> list[Available]:
        """The bundles of the store; empty without a store."""
        ...

    def digest(self, reference: str) -> str:
        """SHA-256 of the manifest that the store has now under this reference, hexadecimal."""
        ...

    def load(self, reference: str | None, provider: Provider | None = None) -> Model:
        """Fetch, verify and warm up a bundle; None for the bundle of `LIVENESS_BUNDLE_PATH`, or the default one.

        `provider` is where it runs if not where the settings say.
        """
        ...

    def start(self, reference: str | None, model: Model, *, as_shadow: bool) -> Engine:
        """Start an engine with a loaded model; an event loop must be running."""
        ...

    def close(self) -> None:
        """Stop the threads of the engines."""
        ...


class BundleSource:
    """Makes engines of the bundles in the store, or of the one in the folder that the settings name."""

    def __init__(
        self, settings: Settings, shadow_threads: Threads, on_batch: Callable[[int], None], pools: Pools | None = None
    ) -> None:
        """Prepare threads and store; nothing is loaded yet.

        Args:
            settings: where bundles are and how they run.
            shadow_threads: threads for shadows; the caller stops them.
            on_batch: called with the size of each batch, except for those of shadows.
            pools: worker processes that prepare uploads in place of threads; the caller ends them.
        """
        self._settings = settings
        self._store = BundleStore(settings.models_url, settings.models_cache) if settings.models_url else None
        self._threads = Threads(
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare"),
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare-clip"),
            pools,
            # Threads would not tell how many of them are at work.
            None if pools is None else SpareCores(available_cores(), settings.intra_op_threads, lambda: pools.busy),
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

    def load(self, reference: str | None, provider: Provider | None = None) -> Model:
        """See `EngineSource`."""
        settings = self._settings if provider is None else self._settings.model_copy(update={"provider": provider})
        try:
            with _as_model_fault():
                if reference is None:
                    return load_model(settings.bundle_path or default_bundle_path(), settings)
                store = self._stored(reference)
                model = load_model(store.fetch(reference), settings)
                # A local folder may have changed since `fetch` checked it.
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
            raise BundleError("LIVENESS_MODELS_URL", f"is not set, so there is no store to take {reference} from")
        return self._store


@contextmanager
def _as_model_fault() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise ModelUnavailableError(error.file, error.reason) from error
