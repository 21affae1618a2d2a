"""Runs the shadow: a bundle that scores requests after they were answered, and only reports its verdicts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import Context
from dataclasses import replace

import structlog

from liveness_service.errors import ClipsUnsupportedError, InvalidParameterError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.engine import Engine, Threads
from liveness_service.results import Result
from liveness_service.submission import Submission
from liveness_service.workers.preparer import Pools

log = structlog.get_logger(__name__)

_MOST_WAITING = 4
"""Most uploads that wait for the shadow in memory; further ones are skipped and counted."""


class ShadowRunner:
    """Lets an engine score answered requests, one after the other, in a thread and a worker that nothing else uses.
    It can keep one core busy, but delays no answer.
    """

    def __init__(self, metrics: Metrics, pools: Pools | None = None) -> None:
        self._metrics = metrics
        thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self.threads = Threads(thread, thread, pools)
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, engine: Engine, submission: Submission, answered: Result) -> None:
        """Score an answered submission later, unless too many wait already."""
        if len(self._tasks) >= _MOST_WAITING:
            self._metrics.shadow_skipped.labels("busy").inc()
            return
        using = ExitStack()
        using.enter_context(engine.in_use())
        # In an empty context, so that the shadow's stages and log lines do not become part of the request's.
        task = asyncio.create_task(self._run(engine, submission, answered), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: using.close())

    async def close(self) -> None:
        """Drop the submissions that wait, and stop the thread."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.threads.shutdown()

    async def _run(self, engine: Engine, submission: Submission, answered: Result) -> None:
        result = await self._scored(engine, submission)
        if result is None:
            return
        manifest = engine.manifest
        self._metrics.scored("shadow", manifest, submission.endpoint, result)
        self._metrics.shadow_agreement.labels(
            manifest.name, manifest.version, answered.verdict.value, result.verdict.value
        ).inc()
        log.info(
            "shadow",
            request_id=submission.request_id,
            model=manifest.name,
            model_version=manifest.version,
            verdict=answered.verdict.value,
            score=answered.score,
            shadow_verdict=result.verdict.value,
            shadow_score=result.score,
        )

    async def _scored(self, engine: Engine, submission: Submission) -> Result | None:
        """The shadow's result; None where it cannot score, which the metrics count with the reason."""
        try:
            options = replace(submission.options, explain=False)
            return await engine.pipeline(submission.endpoint).score(submission.content, options)
        except ClipsUnsupportedError:
            self._metrics.shadow_skipped.labels("clips_unsupported").inc()
        except InvalidParameterError:
            self._metrics.shadow_skipped.labels("no_operating_point").inc()
        except Exception:  # of any kind: a failing shadow must not affect the service
            self._metrics.shadow_skipped.labels("failed").inc()
            log.exception("shadow_failed", model=engine.reference, request_id=submission.request_id)
        return None
