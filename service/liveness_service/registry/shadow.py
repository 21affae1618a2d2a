"""A shadow scores what was already answered, and only reports."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import Context

import structlog

from liveness_service.errors import ClipsUnsupportedError, InvalidParameterError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.engine import Engine, Threads
from liveness_service.results import ClipResult, ImageResult
from liveness_service.scoring.photo import ScoreOptions

log = structlog.get_logger(__name__)

_MOST_WAITING = 4
"""Uploads held for the shadow at once, each in memory: more are skipped, and counted."""

Result = ImageResult | ClipResult


class ShadowRunner:
    """Runs one engine on answered requests, one after the other in a thread of its own: it may take a core's time and
    no answer's place.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self.threads = Threads(thread, thread)
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(
        self, engine: Engine, endpoint: str, request_id: str, content: bytes, options: ScoreOptions, answered: Result
    ) -> None:
        """Score it later, unless too many wait."""
        if len(self._tasks) >= _MOST_WAITING:
            self._metrics.shadow_skipped.labels("busy").inc()
            return
        using = ExitStack()
        using.enter_context(engine.in_use())
        # In a context of its own: its stages are none of the request's, in traces and in logs.
        task = asyncio.create_task(
            self._run(engine, endpoint, request_id, content, options, answered), context=Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: using.close())

    async def close(self) -> None:
        """Drop what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.threads.shutdown()

    async def _run(
        self, engine: Engine, endpoint: str, request_id: str, content: bytes, options: ScoreOptions, answered: Result
    ) -> None:
        score: Callable[[bytes, ScoreOptions], Awaitable[Result]]
        score = engine.photos.score if isinstance(answered, ImageResult) else engine.clips.score
        try:
            result = await score(content, ScoreOptions(options.operating_point, options.faces))
        except ClipsUnsupportedError:
            self._metrics.shadow_skipped.labels("clips_unsupported").inc()
            return
        except InvalidParameterError:
            self._metrics.shadow_skipped.labels("no_operating_point").inc()
            return
        except Exception:  # whatever happens to a shadow, it hurts no one
            self._metrics.shadow_skipped.labels("failed").inc()
            log.exception("shadow_failed", model=engine.reference, request_id=request_id)
            return
        manifest = engine.manifest
        self._metrics.scored("shadow", manifest, endpoint, result)
        self._metrics.shadow_agreement.labels(
            manifest.name, manifest.version, answered.verdict.value, result.verdict.value
        ).inc()
        log.info(
            "shadow",
            request_id=request_id,
            model=manifest.name,
            model_version=manifest.version,
            verdict=answered.verdict.value,
            score=answered.score,
            shadow_verdict=result.verdict.value,
            shadow_score=result.score,
        )
