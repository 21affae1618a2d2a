"""Gives uploads to workers, one each; ends those that take too long or too much, and replaces what has ended.

A worker that is busy for long no longer counts: another one stands in for it while uploads wait. So one file that takes
a worker for its whole deadline does not take it from the others.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from liveness_service.errors import OverloadedError, ServiceError
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MEMORY_OF_ANY_JOB, Document, Done, PreparationSpec, Task
from liveness_service.workers.processes import ForkServer
from liveness_service.workers.worker import (
    START_S,
    Health,
    Job,
    PoolLimits,
    Worker,
    detector_of,
    error_of,
    reason_of,
    resident_bytes,
    shared,
    stand_ins,
)

_T = TypeVar("_T")

log = structlog.get_logger(__name__)

_WATCH_S = 0.1
"""Time between two looks at the workers."""


class WorkerPool:
    """Prepares uploads of one kind in worker processes. It is used in one event loop only."""

    def __init__(
        self, name: str, limits: PoolLimits, server: ForkServer, on_end: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        """Make the pool; its workers start when `expect` first says what they are for.

        Args:
            name: for the log and the metrics.
            limits: what its workers may take.
            server: starts the processes.
            on_end: called with the pool's name and the reason when a worker has ended and is replaced.
        """
        self.name = name
        self.limits = limits
        self._server = server
        self._on_end = on_end
        self._expected: PreparationSpec | None = None
        self._workers: list[Worker] = []
        self._free: list[Worker] = []
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self.large = asyncio.Semaphore()  # for uploads that take much memory, one at a time
        self._not_before = 0.0
        self._health = Health()
        self._all_ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        server.on_ready.append(self._fill)

    @property
    def expected(self) -> bool:
        """Whether there is something to prepare uploads for."""
        return self._expected is not None

    @property
    def alive(self) -> int:
        """How many workers are ready, at work or not."""
        return sum(worker.ready for worker in self._workers)

    @property
    def busy(self) -> int:
        """How many workers have an upload, or get ready for one."""
        return len(self._workers) - len(self._free)

    @property
    def fault(self) -> str | None:
        """Why uploads are not prepared; None if they are."""
        if self._expected is None:
            return None
        return self._health.fault(self.name, self.alive, self.limits.deadline_s)

    def expect(self, spec: PreparationSpec) -> None:
        """Let the workers get ready for uploads that are prepared so; the first call starts them."""
        if self._expected is None:
            self._watch = asyncio.create_task(self._keep_watch(), name=f"workers for {self.name}")
            self._health.started_at = time.monotonic()
        self._expected = spec
        self._fill()
        for worker in self._free[:]:
            if worker.detector != detector_of(spec):
                self._free.remove(worker)
                self._make_ready(worker)

    async def until_ready(self, timeout_s: float = START_S) -> None:
        """Wait until all workers are ready, but not longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._all_ready.wait()

    async def run(self, task: Task, content: bytes, read: Callable[[Done, SharedMemory], _T]) -> _T:
        """Let a worker prepare an upload. Whoever is cancelled while it waits costs no worker anything.

        Args:
            task: what is to be done.
            content: the upload.
            read: reads the answer and checks it. Where it raises a ValueError, the worker is ended, since an upload may
                have taken it over.

        Returns:
            What `read` returns.

        Raises:
            DeadlineExceededError: the worker took too long.
            DecoderFailedError: the worker crashed, or took too much memory or processor time.
            OverloadedError: the service is stopping, or so many uploads wait that this one would not come in time.
        """
        if self._closed:
            raise OverloadedError("the service is stopping: try again")
        if self._health.silent_since is None:
            self._health.silent_since = time.monotonic()
        job = Job(read, asyncio.get_running_loop().create_future())
        while not await self._begin(worker := await self._free_worker(), task, content, job):
            pass
        try:
            result: _T = await job.answer
        except asyncio.CancelledError:
            worker.left_at = time.monotonic()
            raise
        return result

    async def close(self) -> None:
        """End all workers. Uploads in work fail."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        stopping = OverloadedError("the service is stopping: try again")
        for worker in self._workers[:]:
            self._server.kill(worker.process)
            self._forget(worker, stopping)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(stopping)

    async def _free_worker(self) -> Worker:
        while self._free:
            worker = self._free.pop()
            if worker.ended_for is None:
                return worker
        self._health.refuse_what_comes_too_late(self.name, len(self._waiting), self.alive, self.limits.deadline_s)
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # a worker came at the same moment
                self._release(waiter.result())
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def _begin(self, worker: Worker, task: Task, content: bytes, job: Job) -> bool:
        """Give an upload to a worker; False if the worker has ended, and the upload needs another one."""
        try:
            with await shared(content) as upload:
                ends = worker not in self._workers or worker.ended_for is not None
                before = resident_bytes(worker.process.pid)
                if ends or not worker.process.send(task, worker.room_for_answer(task.room), upload):
                    return False
        except BaseException:
            self._health.silent_since = None  # it was given nothing that it could answer
            self._release(worker)
            raise
        worker.since, worker.job, worker.left_at = time.monotonic(), job, None
        worker.most_resident = before + len(content) + MEMORY_OF_ANY_JOB + task.memory_bytes
        return True

    def _release(self, worker: Worker) -> None:
        """Let a worker without work take the next upload that waits."""
        worker.job = worker.left_at = worker.most_resident = None
        worker.since = time.monotonic()
        if worker not in self._workers or worker.ended_for is not None:
            return
        if self._expected is not None and worker.detector != detector_of(self._expected):
            self._make_ready(worker)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # the others' callers are gone
                waiter.set_result(worker)
                return
        if len(self._workers) > self.limits.size:  # it stood in for another one
            self._end(worker, "surplus")
            return
        self._free.append(worker)

    def _fill(self) -> None:
        """Start workers until there are enough."""
        if self._expected is None or self._closed or not self._server.ready or time.monotonic() < self._not_before:
            return
        wanted = self.limits.size + (stand_ins(self._workers, self.limits) if self._waiting else 0)
        while len(self._workers) < wanted:
            self._start()

    def _start(self) -> None:
        process = self._server.launch(lambda status: self._ended(worker, status))
        worker = Worker(process, time.monotonic())
        self._workers.append(worker)
        asyncio.get_running_loop().add_reader(process.connection.fileno(), self._listen, worker)
        self._make_ready(worker)

    def _make_ready(self, worker: Worker) -> None:
        assert self._expected is not None
        worker.since = time.monotonic()
        worker.detector = detector_of(self._expected)
        task = Task(spec=self._expected, cpu_s=int(START_S))
        worker.room = SharedMemory.empty(task.room)
        worker.process.send(task, worker.room)  # where this fails, the worker's end is told by the fork server

    def _listen(self, worker: Worker) -> None:
        try:
            done = worker.process.receive()
            if worker.job is None and worker.room is None:
                raise ValueError("an answer to nothing")
        except BlockingIOError:
            return
        except (OSError, EOFError):
            # It has ended, which the fork server tells with the reason; or it has only hung up, and is of no use.
            asyncio.get_running_loop().remove_reader(worker.process.connection.fileno())
            self._server.kill(worker.process)
            return
        except ValueError:  # it says what no worker says: an upload has taken it over
            self._end(worker, "crashed")
            return
        self._answered(worker, done)

    def _answered(self, worker: Worker, done: Done) -> None:
        health = self._health
        health.silent_since = time.monotonic() if self._waiting else None
        if worker.room is not None:
            if not self._became_ready(worker, worker.room, done):
                return
        elif worker.job is not None:
            self._health.job_s.append(time.monotonic() - worker.since)
        if worker.job is not None and worker.answers is not None and not worker.job.answer.done():
            try:
                worker.job.answer.set_result(worker.job.read(done, worker.answers))
            except ValueError:
                self._end(worker, "crashed")
                return
        self._release(worker)

    def _became_ready(self, worker: Worker, room: SharedMemory, done: Done) -> bool:
        worker.room = None
        with room, contextlib.suppress(ValueError):
            document = Document.model_validate_json(room.read(0, done.document_bytes))
            if document.fault is None:
                if not worker.ready:
                    self._health.start_s = time.monotonic() - worker.since
                worker.ready = True
                self._health.failed_starts = 0
                self._not_before = 0.0
                if self.alive >= self.limits.size:
                    self._all_ready.set()
                return True
            log.error("worker_not_ready", pool=self.name, traceback=document.fault)
        worker.ready = False
        self._end(worker, "not_ready")
        return False

    def _end(self, worker: Worker, reason: str) -> None:
        if worker.ended_for is None:
            worker.ended_for = reason
            self._server.kill(worker.process)

    def _ended(self, worker: Worker, status: int | None) -> None:
        """A worker has ended; replace it."""
        if worker not in self._workers:
            return
        if worker.job is not None and worker.ended_for is None:
            with contextlib.suppress(OSError, ValueError, EOFError):
                self._answered(worker, worker.process.receive())  # it ended after its answer
        reason = worker.ended_for or reason_of(status)
        if not worker.ready:
            reason = "not_ready"
            self._health.failed_starts += 1
            self._not_before = time.monotonic() + self._health.pause_s
        if not self.alive - worker.ready:
            self._health.started_at = time.monotonic()
        self._forget(worker, error_of(reason, self.limits.deadline_s))
        if reason != "surplus":
            log.warning("worker_ended", pool=self.name, reason=reason, status=status, pid=worker.process.pid)
            self._on_end(self.name, reason)
        self._fill()

    def _forget(self, worker: Worker, error: ServiceError) -> None:
        self._workers.remove(worker)
        if worker in self._free:
            self._free.remove(worker)
        if worker.room is not None:
            worker.room.close()
        worker.close_room()
        asyncio.get_running_loop().remove_reader(worker.process.connection.fileno())
        worker.process.connection.close()
        if worker.job is not None and not worker.job.answer.done():
            worker.job.answer.set_exception(error)

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            for worker in self._workers[:]:
                if excess := worker.excess(now, self.limits, self._health.patience_s):
                    self._end(worker, excess)
                    if excess == "not_ready" and worker.process.pid is None:
                        self._server.restart()  # it did not even fork
            self._fill()
