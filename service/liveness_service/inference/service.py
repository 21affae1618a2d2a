"""The running service without its web framework: the model or its fault, admission, deadlines, start and stop."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from liveness_service.decoding.image import ImageLimits
from liveness_service.errors import DeadlineExceededError, ModelUnavailableError, OverloadedError
from liveness_service.inference.batcher import MicroBatcher
from liveness_service.inference.model import Model, ModelFault, load_model
from liveness_service.inference.pipeline import ImagePipeline, ScoreOptions
from liveness_service.inference.results import ImageResult
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings


@dataclass(frozen=True, slots=True)
class _Running:
    model: Model
    batcher: MicroBatcher
    pipeline: ImagePipeline


class LivenessService:
    """Scores pictures once started. Without a verified model it runs and refuses to score."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self._threads = ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare")
        self._running: _Running | None = None
        self._fault: ModelFault | None = ModelFault("model", "not loaded yet")
        self._inflight = 0

    @property
    def fault(self) -> ModelFault | None:
        """Why there is no model; None while there is one."""
        return self._fault

    async def start(self) -> None:
        """Load the model; needs a running event loop. A fault is kept, not raised."""
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._threads, load_model, self.settings)
        if isinstance(loaded, ModelFault):
            self._fault = loaded
            return
        batcher = MicroBatcher(
            loaded.bundle.scorer,
            max_batch_size=self.settings.max_batch_size,
            max_queue_delay_ms=self.settings.max_queue_delay_ms,
            on_batch=self.metrics.batch_size.observe,
        )
        batcher.start()
        limits = ImageLimits(self.settings.max_pixels)
        pipeline = ImagePipeline(loaded, batcher, self._threads, limits, self.settings.max_faces)
        self.metrics.watch_queue(lambda: batcher.depth)
        manifest, variant = loaded.bundle.manifest, loaded.bundle.variant
        self.metrics.model_info.labels(
            manifest.name, manifest.version, variant.precision, loaded.bundle.scorer.provider
        ).set(1)
        self._running, self._fault = _Running(loaded, batcher, pipeline), None

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        if self._running is not None:
            await self._running.batcher.close()
        self._threads.shutdown()

    def _ready(self) -> _Running:
        if self._running is None:
            fault = self._fault or ModelFault("model", "not loaded")
            raise ModelUnavailableError(f"{fault.file}: {fault.reason}", file=fault.file, reason=fault.reason)
        return self._running

    def model(self) -> Model:
        """The loaded model.

        Raises:
            ModelUnavailableError: there is none; it names the file and the reason.
        """
        return self._ready().model

    def check_operating_point(self, name: str | None) -> None:
        """Refuse an unknown operating point before an image is read.

        Raises:
            InvalidParameterError: the bundle has none of this name.
        """
        self._ready().pipeline.operating_point(name)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Take a place for one request, before its image is read.

        Raises:
            ModelUnavailableError: there is no model.
            OverloadedError: all places are taken.
        """
        self._ready()
        if self._inflight >= self.settings.max_inflight:
            raise OverloadedError(
                f"{self._inflight} requests are in work, no more are taken: try again, or add replicas "
                "(LIVENESS_MAX_INFLIGHT is the limit)"
            )
        self._inflight += 1
        self.metrics.inflight.set(self._inflight)
        try:
            yield
        finally:
            self._inflight -= 1
            self.metrics.inflight.set(self._inflight)

    async def score(self, content: bytes, options: ScoreOptions) -> ImageResult:
        """The answer for an encoded picture.

        Raises:
            DeadlineExceededError: it was not there in time; what had not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        deadline_s = self.settings.deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s):
                return await self._ready().pipeline.score(content, options)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"no answer within {deadline_s:g} s: the service is busy or the image very large; try again later"
            ) from error
