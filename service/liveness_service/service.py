"""The running service without its web framework: the model or its fault, admission, deadlines, start and stop."""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from liveness_core.bundle import BundleError
from liveness_service.errors import DeadlineExceededError, ModelUnavailableError, OverloadedError
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.reference import publish_reference
from liveness_service.registry.assignment import Assignment, RoleStateError, read_roles, write_roles
from liveness_service.registry.engine import Engine, Threads
from liveness_service.registry.registry import RoleKeeper
from liveness_service.registry.roles import Roles
from liveness_service.registry.shadow import ShadowRunner
from liveness_service.registry.store import BundleStore
from liveness_service.results import ClipResult, ImageResult
from liveness_service.scoring.model import Model, ModelFault, load_model
from liveness_service.scoring.photo import ScoreOptions
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class LivenessService:
    """Scores pictures and clips once started. Without a verified model it runs and refuses to score."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.metrics.inflight_limit.set(settings.max_inflight)
        self._threads = Threads(
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare"),
            ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare-clip"),
        )
        self._shadows = ShadowRunner(metrics)
        self._store = BundleStore(settings.models_url, settings.models_cache) if settings.models_url else None
        self.models = RoleKeeper(self._store, self._load, self._start_engine, self._keep_roles, self._roles_changed)
        self._fault: ModelFault | None = ModelFault("model", "not loaded yet")
        self._inflight = 0
        self._inflight_clips = 0

    @property
    def fault(self) -> ModelFault | None:
        """Why there is no model; None while there is one."""
        return self._fault

    async def start(self) -> None:
        """Load the models; needs a running event loop. A fault is kept, not raised."""
        try:
            wanted = read_roles(self.settings.models_state, Assignment.of_settings(self.settings))
        except RoleStateError as error:
            self._fault = ModelFault(str(self.settings.models_state), str(error))
            log.error("model_unavailable", file=self._fault.file, reason=self._fault.reason)
            return
        self._fault = await self.models.begin(wanted)

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        await self._shadows.close()
        await self.models.close()
        self._threads.shutdown()

    def _load(self, reference: str | None) -> Model | ModelFault:
        if reference is None:
            return load_model(self.settings)
        store = self._store
        if store is None:
            return ModelFault("LIVENESS_MODELS_URL", f"is not set: there is no store to take {reference} from")
        loaded = load_model(self.settings, lambda: store.fetch(reference))
        if isinstance(loaded, Model):
            try:
                store.check(reference, loaded.bundle.manifest)
            except BundleError as error:
                return ModelFault(error.file, error.reason)
        return loaded

    def _start_engine(self, reference: str | None, model: Model, is_shadow: bool) -> Engine:
        if is_shadow:
            return Engine(reference, model, self.settings, self._shadows.threads)
        return Engine(reference, model, self.settings, self._threads, self.metrics.batch_size.observe)

    def _keep_roles(self, roles: Assignment) -> None:
        write_roles(self.settings.models_state, Assignment.of_settings(self.settings), roles)

    def _roles_changed(self, roles: Roles) -> None:
        engines = [(role, engine) for role, engine in roles.by_role() if engine is not None]
        self.metrics.watch_queue(lambda: sum(engine.batcher.depth for role, engine in engines if role != "shadow"))
        self.metrics.model_info.clear()
        self.metrics.model_reference_score.clear()
        for role, engine in engines:
            manifest, bundle = engine.manifest, engine.model.bundle
            self.metrics.model_info.labels(
                manifest.name, manifest.version, bundle.variant.precision, bundle.scorer.provider, role
            ).set(1)
            publish_reference(self.metrics, manifest)

    def model(self) -> Model:
        """The model that decides, but for a canary's share.

        Raises:
            ModelUnavailableError: there is none; it names the file and the reason.
        """
        return self._active().model

    def _active(self) -> Engine:
        self._check_ready()
        return self.models.active()

    def _check_ready(self) -> None:
        if self._fault is not None:
            fault = self._fault
            raise ModelUnavailableError(f"{fault.file}: {fault.reason}", file=fault.file, reason=fault.reason)

    @contextmanager
    def admit(self, request_id: str = "") -> Iterator[Engine]:
        """Take a place for one request, before its image is read.

        Args:
            request_id: decides whether the canary gets it.

        Returns:
            Who decides on it, from beginning to end.

        Raises:
            ModelUnavailableError: there is no model.
            OverloadedError: all places are taken.
        """
        self._check_ready()
        if self._inflight >= self.settings.max_inflight:
            raise OverloadedError(
                f"{self._inflight} requests are in work, no more are taken: try again, or add replicas "
                "(LIVENESS_MAX_INFLIGHT is the limit)"
            )
        self._inflight += 1
        self.metrics.inflight.set(self._inflight)
        engine = self.models.choose(request_id)
        try:
            with engine.in_use():
                yield engine
        finally:
            self._inflight -= 1
            self.metrics.inflight.set(self._inflight)

    @contextmanager
    def admit_clip(self, request_id: str = "") -> Iterator[Engine]:
        """Take a place for one clip, before it is read: one of the requests' and one of the clips'.

        Raises:
            ModelUnavailableError: there is no model.
            OverloadedError: all places are taken.
        """
        with self.admit(request_id) as engine:
            if self._inflight_clips >= self.settings.max_inflight_clips:
                raise OverloadedError(
                    f"{self._inflight_clips} clips are in work, no more are taken: try again, or add replicas "
                    "(LIVENESS_MAX_INFLIGHT_CLIPS is the limit)"
                )
            self._inflight_clips += 1
            try:
                yield engine
            finally:
                self._inflight_clips -= 1

    async def score(self, content: bytes, options: ScoreOptions, engine: Engine | None = None) -> ImageResult:
        """The answer for an encoded picture.

        Args:
            content: of the file.
            options: what was asked for.
            engine: that of its admission; the active one where it is None.

        Raises:
            DeadlineExceededError: it was not there in time; what had not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        engine = engine or self._active()
        with engine.in_use():
            work = engine.photos.score(content, options)
            return await _in_time(work, self.settings.deadline_ms, "the image very large")

    async def score_clip(self, content: bytes, options: ScoreOptions, engine: Engine | None = None) -> ClipResult:
        """The answer for an encoded clip.

        Args:
            content: of the file.
            options: what was asked for.
            engine: that of its admission; the active one where it is None.

        Raises:
            DeadlineExceededError: it was not there in time; what had not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        engine = engine or self._active()
        with engine.in_use():
            work = engine.clips.score(content, options)
            return await _in_time(work, self.settings.clip_deadline_ms, "the clip very long or large")

    def concluded(
        self,
        engine: Engine,
        endpoint: str,
        request_id: str,
        content: bytes,
        options: ScoreOptions,
        result: ImageResult | ClipResult,
        key: str,
    ) -> None:
        """Count a verdict, by the name of the access key too, and show the upload to the shadow where there is one."""
        self.metrics.concluded(endpoint, result, key)
        self.metrics.scored(self.models.role_of(engine), engine.manifest, endpoint, result)
        shadow = self.models.looks_on(request_id)
        if shadow is not None:
            self._shadows.offer(shadow, endpoint, request_id, content, options, result)


async def _in_time(work: Coroutine[Any, Any, _T], deadline_ms: int, otherwise: str) -> _T:
    try:
        async with asyncio.timeout(deadline_ms / 1000):
            return await work
    except TimeoutError as error:
        raise DeadlineExceededError(
            f"no answer within {deadline_ms / 1000:g} s: the service is busy or {otherwise}; try again later"
        ) from error
