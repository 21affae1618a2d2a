"""Prepares uploads in workers: the way that pipelines take instead of their threads."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np
import structlog

from liveness_core.types import FaceCrops
from liveness_service.errors import DecoderFailedError, errors_of_content
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.stages import active_tracer
from liveness_service.scoring.prepared import ClipFacts, Facts, PhotoFacts, Prepared
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MEMORY_AT_ONCE, Document, PreparationSpec, Task
from liveness_service.workers.pool import WorkerPool
from liveness_service.workers.processes import ForkServer
from liveness_service.workers.worker import PoolLimits

log = structlog.get_logger(__name__)


class WorkerFaultError(RuntimeError):
    """A worker met an error that nobody expected; the log has its traceback."""


class InWorkers(Generic[Facts]):
    """Prepares uploads of one kind for one model."""

    def __init__(
        self, pool: WorkerPool, spec: PreparationSpec, endpoint: Endpoint, facts_of: Callable[[Document], Facts | None]
    ) -> None:
        """Let the pool get ready.

        Args:
            pool: the workers.
            spec: how the model's uploads are prepared.
            endpoint: which uploads these are.
            facts_of: takes the facts out of an answer.
        """
        self._pool = pool
        self._spec = spec
        self._endpoint = endpoint
        self._facts_of = facts_of
        self._crop_ends = spec.crop_ends
        self._tasks: dict[tuple[FacePolicy, bool], Task] = {}
        pool.expect(spec)

    async def __call__(self, content: bytes, faces: FacePolicy) -> Prepared[Facts]:
        """See `scoring.pipeline.Elsewhere`."""
        task = self._task(faces, traced=active_tracer.get() is not None)
        document, prepared = await self._run(task, content)
        if document.wants is not None:
            async with self._pool.large:
                granted = min(document.wants, self._pool.limits.memory_bytes)
                document, prepared = await self._run(task.model_copy(update={"memory_bytes": granted}), content)
        document.times.take_over()
        if document.failure is not None:
            if document.fault is not None:
                log.error("worker_fault", traceback=document.fault)
            kind = errors_of_content().get(document.failure.code, DecoderFailedError)
            raise kind(document.failure.detail, **document.failure.members)
        if document.wants is not None:
            raise DecoderFailedError(
                "decoding this file takes more memory than it may take: send a smaller one, or the camera's own file"
            )
        if prepared is None:
            log.error("worker_fault", traceback=document.fault)
            raise WorkerFaultError("a worker met an error that nobody expected: the log has its traceback")
        return prepared

    def _task(self, faces: FacePolicy, *, traced: bool) -> Task:
        """What a worker is to do; made once, since it is the same for every upload."""
        task = self._tasks.get((faces, traced))
        if task is None:
            task = self._tasks[faces, traced] = Task(
                spec=self._spec,
                endpoint=self._endpoint,
                faces=faces,
                traced=traced,
                cpu_s=max(1, round(self._pool.limits.deadline_s)),
                memory_bytes=MEMORY_AT_ONCE if self._endpoint is Endpoint.PHOTO else self._spec.clip_bytes,
            )
        return task

    async def _run(self, task: Task, content: bytes) -> tuple[Document, Prepared[Facts] | None]:
        start = task.crops_room
        return await self._pool.run(task, content, lambda done, room: self._read(room, start, done.document_bytes))

    def _read(self, room: SharedMemory, start: int, size: int) -> tuple[Document, Prepared[Facts] | None]:
        """The document of an answer and, unless it says why there is none, the upload that is ready to be scored.

        Raises:
            ValueError: the answer is malformed.
        """
        document = Document.model_validate_json(room.read(start, size))
        if document.failure is not None or document.fault is not None or document.wants is not None:
            return document, None
        facts = self._facts_of(document)
        if facts is None or facts.crops > self._spec.most_crops(self._endpoint):
            raise ValueError("no facts of this kind of upload, or too many crops")
        return document, Prepared(facts, tuple(self._face(room, number) for number in range(facts.crops)))

    def _face(self, room: SharedMemory, number: int) -> FaceCrops:
        ends = self._crop_ends
        content = np.frombuffer(room.read(number * ends[-1], ends[-1]), np.uint8)
        return tuple(
            content[start:end].reshape(view.size, view.size, 3)
            for start, end, view in zip((0, *ends[:-1]), ends, self._spec.views, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Pools:
    """The workers for photos and for clips; the same ones where a shadow needs only one."""

    photos: WorkerPool
    clips: WorkerPool

    @property
    def busy(self) -> int:
        """How many of the workers have an upload, or get ready for one."""
        return sum(pool.busy for pool in {self.photos, self.clips})

    def for_photos(self, spec: PreparationSpec) -> InWorkers[PhotoFacts]:
        """Prepare photos for one model."""
        return InWorkers(self.photos, spec, Endpoint.PHOTO, lambda document: document.photo)

    def for_clips(self, spec: PreparationSpec) -> InWorkers[ClipFacts] | None:
        """Prepare clips for one model; None if it scores photos only."""
        return None if spec.clip is None else InWorkers(self.clips, spec, Endpoint.CLIP, lambda document: document.clip)


class Workers:
    """All worker processes of the service. Photos and clips have their own, so that photos do not wait for clips."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Make the pools; `start` starts the process that workers are forked from."""
        memory_bytes = settings.worker_memory_mb << 20
        self._server = ForkServer(memory_bytes, _model_files(settings))

        def pool(name: str, size: int, deadline_ms: int) -> WorkerPool:
            limits = PoolLimits(size, memory_bytes, deadline_ms / 1000)
            made = WorkerPool(name, limits, self._server, lambda pool, why: metrics.worker_ends.labels(pool, why).inc())
            metrics.workers.labels(name).set_function(lambda: made.alive)
            return made

        self.serving = Pools(
            pool("photos", settings.worker_count, settings.deadline_ms),
            pool("clips", settings.worker_count, settings.clip_deadline_ms),
        )
        shadow = pool("shadow", 1, max(settings.deadline_ms, settings.clip_deadline_ms))
        self.shadow = Pools(shadow, shadow)

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> "Workers | None":
        """The workers that the settings ask for; None if uploads are prepared in threads."""
        if not settings.worker_count:
            return None
        if not sys.platform.startswith("linux") or not hasattr(os, "memfd_create"):
            log.warning("workers_unsupported", note="uploads are decoded in this process: workers need Linux")
            return None
        if settings.provider == "cuda":
            log.info(
                "workers_find_faces_on_cpu",
                note="workers have no right to the GPU; LIVENESS_WORKERS=0 finds faces on it, in this process",
            )
        return cls(settings, metrics)

    @property
    def fault(self) -> str | None:
        """Why uploads are not prepared; None if they are. A shadow's workers do not count."""
        return self.serving.photos.fault or self.serving.clips.fault

    def start(self) -> None:
        """Start the process that workers are forked from; an event loop must be running."""
        self._server.start()

    async def until_ready(self) -> None:
        """Wait until the workers for photos are ready, if any are expected."""
        if self.serving.photos.expected:
            await self.serving.photos.until_ready()

    async def close(self) -> None:
        """End all workers."""
        for pool in (self.serving.photos, self.serving.clips, self.shadow.photos):
            await pool.close()
        await self._server.close()


def _model_files(settings: Settings) -> list[Path]:
    """The files that a detector reads when it is loaded."""
    if settings.detector_model is None:
        return []
    return [Path(settings.detector_model), Path.home() / ".insightface"]
