"""Micro-batching: the crops of requests that come at the same time share a run of the encoder.

All crops of a face travel together, one for each view of the model. Where a number of crops is named below, those of
one face count as one.

By default there is no timer. While a batch runs, further crops queue, and the next batch takes them. So a single
request never waits for others, and the busier the service, the fuller its batches. Where a core has nothing to do, the
next batch begins beside the one that runs. Crops that are submitted together, such as those of a clip, stay in one
batch.

A batch that fails is split in halves, and those that fail again, until the crops that the model cannot score are alone:
only their callers get an error. The number of further runs is bounded by the logarithm of the batch's size.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import structlog

from liveness_core.scoring import CropScore
from liveness_core.types import FaceCrops
from liveness_service.errors import OverloadedError, ScoringFailedError
from liveness_service.observability.stages import record, stage
from liveness_service.scoring.spare_cores import MOST_RUNS, SpareCores

log = structlog.get_logger(__name__)

_SPARE_RUNS = 4
"""How many runs a failing batch may cost beside the first, times the logarithm of its callers: for eight callers 12.
One crop that cannot be scored takes 2 times the logarithm to find, and where all fail, not each is tried alone."""


class CropScorer(Protocol):
    """Runs a batch; `liveness_core.scoring.Scorer` is the implementation for production."""

    def score(self, faces: Sequence[FaceCrops], *, explain: bool = False) -> list[CropScore]:
        """Score the faces as one batch; the scores are in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of crops that were submitted together, and how long they took."""

    results: tuple[CropScore, ...]
    """One score for each crop, in the order of the crops."""
    queue_s: float
    """Seconds from the submission to the start of the batch."""
    infer_s: float
    """Seconds that the batch ran."""
    batch_size: int
    """How many crops ran together, with those of other requests."""


@dataclass(slots=True)
class _Item:
    crops: tuple[FaceCrops, ...]
    explain: bool
    future: asyncio.Future[Scored]
    request_id: str | None = None
    queued_at: float = field(default_factory=time.perf_counter)

    def fail(self, cause: Exception) -> None:
        """Answer the caller, if it still waits, that there is no score."""
        if not self.future.done():
            failure = ScoringFailedError(
                "the model failed on this upload, so there is no verdict: try again, and see the service's log"
            )
            failure.__cause__ = cause
            self.future.set_exception(failure)


class _WrongNumberError(RuntimeError):
    """The scorer gave too few or too many scores: which belong to which crop is not known, also in smaller batches."""


class MicroBatcher:
    """Runs crops in batches, one batch at a time, and more where cores are spare."""

    def __init__(
        self,
        scorer: CropScorer,
        *,
        max_batch_size: int,
        max_queue_delay_ms: float = 0.0,
        cores: SpareCores | None = None,
        on_batch: Callable[[int], None] = lambda _size: None,
        on_failure: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Prepare the batcher; it takes crops once `start` is called.

        Args:
            scorer: runs a batch; called in threads that only the batcher uses, with `cores` in several at once.
            max_batch_size: most crops in one run; a larger submission is split into several runs.
            max_queue_delay_ms: how long a batch that is not full waits for more crops.
            cores: tells when a batch may begin beside another; None: never.
            on_batch: called with the size of each run.
            on_failure: called with the error of a batch of which nothing could be scored, whatever it was split into.
        """
        self._scorer = scorer
        self._max_batch_size = max_batch_size
        self._max_delay_s = max_queue_delay_ms / 1000
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._held: _Item | None = None  # taken from the queue, but it did not fit into that batch: goes into the next
        self._waiting = 0
        self._cores = cores
        self._runs: set[asyncio.Task[None]] = set()
        self._began: list[float] = []  # when each of them began in its thread
        self._changed = asyncio.Event()  # crops have come, or a run has ended: another one may begin
        self._threads = ThreadPoolExecutor(1 if cores is None else MOST_RUNS, thread_name_prefix="encoder")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def depth(self) -> int:
        """How many crops wait for a batch."""
        return self._waiting

    @property
    def busy_s(self) -> float:
        """For how many seconds the oldest present run has lasted; 0 while none runs."""
        return time.perf_counter() - min(self._began) if self._began else 0.0

    def start(self) -> None:
        """Begin to take crops; an event loop must be running."""
        self._worker = asyncio.create_task(self._work(), name="micro-batcher")
        self._worker.add_done_callback(self._start_again)

    def _start_again(self, worker: asyncio.Task[None]) -> None:
        """Replace a worker that ended by a fault of its own: without one, all crops would wait for ever."""
        if worker.cancelled() or worker.exception() is None:
            return
        log.error("batcher_restarted", exc_info=worker.exception())
        self.start()

    async def close(self) -> None:
        """Score the crops that were accepted, then stop."""
        self._closed = True
        await self._queue.join()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._threads.shutdown()

    def report(self, error: Exception) -> None:
        """Tell whoever judges the model that another network of it failed: the detector, or the temporal head."""
        self._on_failure(error)

    async def submit(self, crops: Sequence[FaceCrops], *, explain: bool = False) -> Scored:
        """Score crops in one batch. If the caller is cancelled while its crops wait, they are not scored.

        Raises:
            ScoringFailedError: the model cannot score these crops; others are not affected.
            OverloadedError: the batcher is closing.
        """
        if self._closed or self._worker is None:
            raise OverloadedError("the service is stopping: try again")
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        item = _Item(tuple(crops), explain, asyncio.get_running_loop().create_future(), request_id)
        self._waiting += len(item.crops)
        self._queue.put_nowait(item)
        self._changed.set()
        with stage("score"):  # this span is there even if scoring fails; `queue` and `infer` are recorded only after it
            queued_ns = time.time_ns()
            scored = await item.future
            started_ns = record("queue", queued_ns, scored.queue_s)
            record("infer", started_ns, scored.infer_s, batch_size=scored.batch_size)
        return scored

    async def _work(self) -> None:
        while True:
            self._held = self._held or await self._queue.get()
            while self._runs and not (self._cores is not None and self._cores.has_room):
                self._changed.clear()
                await self._changed.wait()
            batch = await self._collect()
            self._waiting -= sum(len(item.crops) for item in batch)
            if self._cores is not None:
                self._cores.begin()
            run = asyncio.create_task(self._serve(batch))
            self._runs.add(run)
            run.add_done_callback(self._ended)

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._runs.remove(run)
        if self._cores is not None:
            self._cores.end()
        self._changed.set()

    async def _serve(self, batch: list[_Item]) -> None:
        try:
            wanted = [item for item in batch if not item.future.done()]
            if wanted:
                await self._run(wanted)
        except Exception as error:  # a fault of ours; the callers must get an answer
            log.exception("batcher_failed")
            for item in batch:
                item.fail(error)
        finally:
            for _ in batch:
                self._queue.task_done()

    async def _collect(self) -> list[_Item]:
        first, self._held = self._held or await self._queue.get(), None
        batch = [first]
        if self._max_delay_s:
            try:
                async with asyncio.timeout(self._max_delay_s):
                    while self._takes_more(batch):
                        self._add(batch, await self._queue.get())
            except TimeoutError:
                pass
        while self._takes_more(batch) and not self._queue.empty():
            self._add(batch, self._queue.get_nowait())
        return batch

    def _takes_more(self, batch: Sequence[_Item]) -> bool:
        return self._held is None and sum(len(item.crops) for item in batch) < self._max_batch_size

    def _add(self, batch: list[_Item], item: _Item) -> None:
        """Add an item to the batch or, if it does not fit any more, hold it for the next batch."""
        if sum(len(other.crops) for other in batch) + len(item.crops) <= self._max_batch_size:
            batch.append(item)
        else:
            self._held = item

    async def _run(self, batch: list[_Item]) -> None:
        """Score a batch; where it fails, its halves, up to a bounded number of runs."""
        pending, scored = [batch], 0
        failure: Exception | None = None
        spare = _SPARE_RUNS * (len(batch) - 1).bit_length()
        while pending:
            items = [item for item in pending.pop() if not item.future.done()]
            if not items:
                continue
            try:
                await self._run_once(items)
                scored += len(items)
            except Exception as error:  # of any kind: the callers must get an answer, and the worker must go on
                failure = error
                if len(items) > 1 and spare >= 2 and not isinstance(error, _WrongNumberError):
                    spare -= 2
                    middle = len(items) // 2
                    pending += [items[middle:], items[:middle]]
                    continue
                log.exception("batch_failed", size=len(items), request_ids=[item.request_id for item in items])
                for item in items:
                    item.fail(error)
        if failure is not None and not scored:
            self._on_failure(failure)

    async def _run_once(self, batch: list[_Item]) -> None:
        """Score a batch and answer its callers.

        Raises:
            Exception: the model failed; nobody is answered then.
        """
        started = time.perf_counter()
        crops = [crop for item in batch for crop in item.crops]
        size = self._max_batch_size
        runs = [crops[start : start + size] for start in range(0, len(crops), size)]
        explain = any(item.explain for item in batch)
        for run in runs:
            self._on_batch(len(run))
        self._began.append(started)
        try:
            results = await self._in_thread(runs, explain=explain)
        finally:
            self._began.remove(started)
        took = time.perf_counter() - started
        if len(results) != len(crops):
            raise _WrongNumberError(f"{len(crops)} crops got {len(results)} scores")
        rest = iter(results)
        for item in batch:
            own = tuple(islice(rest, len(item.crops)))
            if not item.future.done():
                item.future.set_result(Scored(own, started - item.queued_at, took, len(crops)))

    async def _in_thread(self, runs: Sequence[Sequence[FaceCrops]], *, explain: bool) -> list[CropScore]:
        def score() -> list[CropScore]:
            try:
                return [result for run in runs for result in self._scorer.score(run, explain=explain)]
            except Exception:
                raise
            except BaseException as error:  # SystemExit would end the event loop, and with it the service
                raise RuntimeError(f"the encoder's thread was ended by {type(error).__name__}") from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, score)
