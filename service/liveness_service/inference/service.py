"""The running service without its web framework: the model or its fault, admission, deadlines, start and stop."""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from liveness_core.video import VideoLimits
from liveness_service.decoding.image import ImageLimits
from liveness_service.errors import DeadlineExceededError, ModelUnavailableError, OverloadedError
from liveness_service.inference.batcher import MicroBatcher
from liveness_service.inference.clip_pipeline import ClipPipeline
from liveness_service.inference.model import Model, ModelFault, load_model
from liveness_service.inference.pipeline import ImagePipeline, ScoreOptions
from liveness_service.inference.results import ClipResult, ImageResult
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.reference import publish_reference
from liveness_service.settings import Settings

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Running:
    model: Model
    batcher: MicroBatcher
    pipeline: ImagePipeline
    clips: ClipPipeline


class LivenessService:
    """Scores pictures and clips once started. Without a verified model it runs and refuses to score."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self._threads = ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare")
        self._clip_threads = ThreadPoolExecutor(settings.preparation_threads, thread_name_prefix="prepare-clip")
        self._running: _Running | None = None
        self._fault: ModelFault | None = ModelFault("model", "not loaded yet")
        self._inflight = 0
        self._inflight_clips = 0

    @property
    def fault(self) -> ModelFault | None:
        """Why there is no model; None while there is one."""
        return self._fault

    async def start(self) -> None:
        """Load the model; needs a running event loop. A fault is kept, not raised."""
        self.metrics.ready.set_function(lambda: float(self._fault is None))
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
        clip_limits = VideoLimits(
            max_seconds=self.settings.max_clip_seconds,
            max_frames=self.settings.max_clip_frames,
            max_pixels=self.settings.max_clip_pixels,
            max_streams=self.settings.max_clip_streams,
        )
        clips = ClipPipeline(loaded, batcher, self._clip_threads, clip_limits, self.settings.min_clip_seconds)
        self.metrics.watch_queue(lambda: batcher.depth)
        publish_reference(self.metrics, loaded.bundle.manifest)
        manifest, variant = loaded.bundle.manifest, loaded.bundle.variant
        self.metrics.model_info.labels(
            manifest.name, manifest.version, variant.precision, loaded.bundle.scorer.provider, "active"
        ).set(1)
        self._running, self._fault = _Running(loaded, batcher, pipeline, clips), None

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        if self._running is not None:
            await self._running.batcher.close()
        self._threads.shutdown()
        self._clip_threads.shutdown()

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

    def check_clip_operating_point(self, name: str | None) -> None:
        """Refuse a clip that cannot be scored before it is read.

        Raises:
            ClipsUnsupportedError: the bundle scores photos only.
            InvalidParameterError: the bundle has no operating point of this name for clips.
        """
        self._ready().clips.operating_point(name)

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

    @contextmanager
    def admit_clip(self) -> Iterator[None]:
        """Take a place for one clip, before it is read: one of the requests' and one of the clips'.

        Raises:
            ModelUnavailableError: there is no model.
            OverloadedError: all places are taken.
        """
        with self.admit():
            if self._inflight_clips >= self.settings.max_inflight_clips:
                raise OverloadedError(
                    f"{self._inflight_clips} clips are in work, no more are taken: try again, or add replicas "
                    "(LIVENESS_MAX_INFLIGHT_CLIPS is the limit)"
                )
            self._inflight_clips += 1
            try:
                yield
            finally:
                self._inflight_clips -= 1

    async def score(self, content: bytes, options: ScoreOptions) -> ImageResult:
        """The answer for an encoded picture.

        Raises:
            DeadlineExceededError: it was not there in time; what had not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        work = self._ready().pipeline.score(content, options)
        return await _in_time(work, self.settings.deadline_ms, "the image very large")

    async def score_clip(self, content: bytes, options: ScoreOptions) -> ClipResult:
        """The answer for an encoded clip.

        Raises:
            DeadlineExceededError: it was not there in time; what had not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        work = self._ready().clips.score(content, options)
        return await _in_time(work, self.settings.clip_deadline_ms, "the clip very long or large")


async def _in_time(work: Coroutine[Any, Any, _T], deadline_ms: int, otherwise: str) -> _T:
    try:
        async with asyncio.timeout(deadline_ms / 1000):
            return await work
    except TimeoutError as error:
        raise DeadlineExceededError(
            f"no answer within {deadline_ms / 1000:g} s: the service is busy or {otherwise}; try again later"
        ) from error
