"""One loaded bundle at work: its batcher and its pipelines, and how many requests use it."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from liveness_core.bundle import Manifest
from liveness_core.video import VideoLimits
from liveness_service.decoding.image import ImageLimits
from liveness_service.scoring.batcher import MicroBatcher
from liveness_service.scoring.clip import ClipPipeline
from liveness_service.scoring.model import Model
from liveness_service.scoring.photo import ImagePipeline
from liveness_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Threads:
    """Where decoding, detection and alignment run."""

    photos: ThreadPoolExecutor
    clips: ThreadPoolExecutor

    def shutdown(self) -> None:
        """Wait for what runs."""
        self.photos.shutdown()
        self.clips.shutdown()


class Engine:
    """Scores with one model from `start` until it is retired. A request uses one engine from beginning to end."""

    def __init__(
        self,
        reference: str | None,
        model: Model,
        settings: Settings,
        threads: Threads,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Begin; needs a running event loop.

        Args:
            reference: what the bundle was asked for by; None for that of `LIVENESS_BUNDLE_PATH`.
            model: verified.
            settings: limits.
            threads: may be shared by several engines.
            on_batch: told the size of each batch.
        """
        self.reference = reference
        self.model = model
        self.batcher = MicroBatcher(
            model.bundle.scorer,
            max_batch_size=settings.max_batch_size,
            max_queue_delay_ms=settings.max_queue_delay_ms,
            on_batch=on_batch,
        )
        self.batcher.start()
        self.photos = ImagePipeline(
            model, self.batcher, threads.photos, ImageLimits(settings.max_pixels), settings.max_faces
        )
        limits = VideoLimits(
            max_seconds=settings.max_clip_seconds,
            max_frames=settings.max_clip_frames,
            max_pixels=settings.max_clip_pixels,
            max_streams=settings.max_clip_streams,
        )
        self.clips = ClipPipeline(model, self.batcher, threads.clips, limits, settings.min_clip_seconds)
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def manifest(self) -> Manifest:
        """Of its bundle."""
        return self.model.bundle.manifest

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request has it, it is not retired."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """Wait until nobody uses it, then stop."""
        await self._unused.wait()
        await self.batcher.close()
