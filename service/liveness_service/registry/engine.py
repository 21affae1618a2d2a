"""A loaded bundle that scores: its batcher, its pipelines, and the count of requests that use it."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from liveness_core.bundle import Manifest
from liveness_core.video import VideoLimits
from liveness_service.decoding.clip import INDEX_LIMITS
from liveness_service.decoding.image import ImageLimits
from liveness_service.errors import ModelUnavailableError
from liveness_service.scoring.batcher import MicroBatcher
from liveness_service.scoring.clip import ClipPipeline
from liveness_service.scoring.model import Model, detector_spec
from liveness_service.scoring.photo import PhotoPipeline
from liveness_service.scoring.prepared import ClipFacts, PhotoFacts
from liveness_service.scoring.spare_cores import SpareCores
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint
from liveness_service.workers.messages import PreparationSpec
from liveness_service.workers.preparer import InWorkers, Pools


@dataclass(frozen=True, slots=True)
class Threads:
    """Where uploads are decoded, searched for faces and aligned, and where heat maps are drawn."""

    photos: ThreadPoolExecutor
    clips: ThreadPoolExecutor
    pools: Pools | None = None
    """Worker processes that prepare uploads in place of the threads."""
    cores: SpareCores | None = None
    """Tells when an encoder on the CPU may begin a run beside another; None: never."""

    def shutdown(self) -> None:
        """Wait until the running work ends, then stop the threads."""
        self.photos.shutdown()
        self.clips.shutdown()


class Engine:
    """Scores with one model until it is retired. A request uses the same engine from beginning to end."""

    def __init__(
        self,
        reference: str | None,
        model: Model,
        settings: Settings,
        threads: Threads,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Start the engine; an event loop must be running.

        Args:
            reference: name of the bundle in the store; None for that of `LIVENESS_BUNDLE_PATH`, or the default one.
            model: a verified model.
            settings: the limits of uploads and of batches.
            threads: the threads that prepare uploads; several engines may share them.
            on_batch: called with the size of each batch.
        """
        self.reference = reference
        self.model = model
        self._batcher = MicroBatcher(
            model.bundle.scorer,
            max_batch_size=settings.max_batch_size,
            max_queue_delay_ms=settings.max_queue_delay_ms,
            cores=threads.cores if model.bundle.scorer.provider == "cpu" else None,
            on_batch=on_batch,
            on_failure=lambda _error: self.on_failure(self),
        )
        self.on_failure: Callable[[Engine], None] = lambda _engine: None
        """Called when nothing of a batch could be scored, or a face detector or temporal head failed."""
        self._deadline_s = settings.deadline_ms / 1000
        self._batcher.start()
        photo_limits = ImageLimits(settings.max_pixels, max_scans=settings.max_scans)
        clip_limits = VideoLimits(
            max_seconds=settings.max_clip_seconds,
            max_frames=settings.max_clip_frames,
            max_pixels=settings.max_clip_pixels,
            max_decoded_pixels=settings.max_clip_decoded_pixels,
            max_cpu_s=settings.max_clip_cpu_ms / 1000,
            max_streams=settings.max_clip_streams,
            **INDEX_LIMITS,
        )
        photos, clips = _elsewhere(model, settings, threads, photo_limits, clip_limits)
        self._pipelines: dict[Endpoint, PhotoPipeline | ClipPipeline] = {
            Endpoint.PHOTO: PhotoPipeline(
                model, self._batcher, threads.photos, photo_limits, settings.max_faces, photos
            ),
            Endpoint.CLIP: ClipPipeline(
                model, self._batcher, threads.clips, clip_limits, settings.min_clip_seconds, clips
            ),
        }
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the engine's bundle."""
        return self.model.bundle.manifest

    @property
    def queue_depth(self) -> int:
        """How many crops wait for a batch."""
        return self._batcher.depth

    @property
    def fault(self) -> ModelUnavailableError | None:
        """Why the engine scores nothing now; None while it does. A batch takes milliseconds, one of seconds hangs."""
        busy_s = self._batcher.busy_s
        if busy_s <= self._deadline_s:
            return None
        return ModelUnavailableError("model", f"busy with one batch for {busy_s:.0f} s: see the service's log")

    def pipeline(self, endpoint: Endpoint) -> PhotoPipeline | ClipPipeline:
        """The pipeline that scores uploads to this endpoint."""
        return self._pipelines[endpoint]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use the engine while the context is open; it is not retired before."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """Wait until no request uses the engine, then stop it."""
        await self._unused.wait()
        await self._batcher.close()


def _elsewhere(
    model: Model, settings: Settings, threads: Threads, photo_limits: ImageLimits, clip_limits: VideoLimits
) -> tuple[InWorkers[PhotoFacts] | None, InWorkers[ClipFacts] | None]:
    """What prepares photos and clips in worker processes; None where threads do it."""
    if threads.pools is None:
        return None, None
    manifest = model.bundle.manifest
    spec = PreparationSpec.of(
        manifest,
        detector_spec(manifest.detector, settings),
        settings.detector_model,
        photo_limits,
        clip_limits,
        settings.max_faces,
        settings.min_clip_seconds,
    )
    return threads.pools.for_photos(spec), threads.pools.for_clips(spec)
