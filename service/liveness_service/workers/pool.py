"""Gives uploads to workers, one each; ends those that take too long or too much, and replaces what has ended.

A worker that is busy for long no longer counts: another one stands in for it while uploads wait. So one file that takes
a worker for its whole deadline does not take it from the others.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from liveness_service.errors import DeadlineExceededError, DecoderFailedError, OverloadedError, ServiceError
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import Document, Done, PreparationSpec, Task
from liveness_service.workers.processes import ForkServer, Process

_T = TypeVar("_T")

log = structlog.get_logger(__name__)

_WATCH_S = 0.1
"""Time between two looks at the workers."""
_LONG_S = 2.0
"""From this time on another worker may stand in for a busy one."""
_LEFT_S = 0.5
"""A worker whose upload nobody waits for may still take this long; to end it costs more than what it does meanwhile."""
_START_S = 20.0
"""Longest time until a new worker is ready."""
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
"""Before the next worker is started after one has ended before it was ready."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Job:
    """An upload that a worker has."""

    room: SharedMemory
    """Where its answer will be."""
    read: Callable[[Done, SharedMemory], Any]
    """Reads and checks the answer; a ValueError if it is malformed."""
    answer: asyncio.Future[Any]
    """What was read."""


@dataclass(slots=True)
class _Worker:
    process: Process
    since: float
    """When its present work began."""
    ready: bool = False
    """Whether its detector is loaded."""
    detector: object = None
    """Which detector it has made ready last."""
    job: "_Job | None" = None
    """The upload in work; None if there is none, as while a detector is made ready."""
    left_at: float | None = None
    """When the caller stopped to wait."""
    ended_for: str | None = None
    """Why the service ends it; None if it does not."""
    room: SharedMemory | None = None
    """The answer's memory while a detector is made ready."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the workers of a pool may take."""

    size: int
    """Number of workers."""
    memory_bytes: int
    """Most memory of a worker."""
    deadline_s: float
    """Longest time for one upload."""


@dataclass(slots=True)
class _Health:
    """When the pool was last seen to do its work."""

    failed_starts: int = 0
    """Workers that ended before they were ready, since the last one that became ready."""
    silent_since: float | None = None
    """Since when work waits and no worker has answered; None if none waits."""
    started_at: float = field(default_factory=time.monotonic)


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
        self._workers: list[_Worker] = []
        self._free: list[_Worker] = []
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._not_before = 0.0
        self._health = _Health()
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
    def pids(self) -> list[int]:
        """The processes of its workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    @property
    def fault(self) -> str | None:
        """Why uploads are not prepared; None if they are."""
        if self._expected is None:
            return None
        now, health = time.monotonic(), self._health
        if not self.alive and (health.failed_starts > 2 or now - health.started_at > _START_S):
            return f"no worker for {self.name} can be started: see the log"
        if health.silent_since is not None and now - health.silent_since > self.limits.deadline_s:
            return f"no worker for {self.name} has answered for {now - health.silent_since:.0f} s while uploads wait"
        return None

    def expect(self, spec: PreparationSpec) -> None:
        """Let the workers get ready for uploads that are prepared so; the first call starts them."""
        if self._expected is None:
            self._watch = asyncio.create_task(self._keep_watch(), name=f"workers for {self.name}")
            self._health.started_at = time.monotonic()
        self._expected = spec
        self._fill()
        for worker in self._free[:]:
            if worker.detector != _detector(spec):
                self._free.remove(worker)
                self._make_ready(worker)

    async def until_ready(self, timeout_s: float = _START_S) -> None:
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
            OverloadedError: the service is stopping.
        """
        if self._closed:
            raise OverloadedError("the service is stopping: try again")
        if self._health.silent_since is None:
            self._health.silent_since = time.monotonic()
        with SharedMemory.empty(task.room) as room:
            job = _Job(room, read, asyncio.get_running_loop().create_future())
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
        for worker in self._workers[:]:
            self._server.kill(worker.process)
            self._forget(worker, OverloadedError("the service is stopping: try again"))
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(OverloadedError("the service is stopping: try again"))

    async def _free_worker(self) -> _Worker:
        while self._free:
            worker = self._free.pop()
            if worker.ended_for is None:
                return worker
        waiter: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
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

    async def _begin(self, worker: _Worker, task: Task, content: bytes, job: _Job) -> bool:
        """Give an upload to a worker; False if the worker has ended, and the upload needs another one."""
        try:
            with await _shared(content) as upload:
                ends = worker not in self._workers or worker.ended_for is not None
                if ends or not worker.process.send(task, job.room, upload):
                    return False
        except BaseException:
            self._health.silent_since = None  # it was given nothing that it could answer
            self._release(worker)
            raise
        worker.since, worker.job, worker.left_at = time.monotonic(), job, None
        return True

    def _release(self, worker: _Worker) -> None:
        """Let a worker without work take the next upload that waits."""
        worker.job = worker.left_at = None
        worker.since = time.monotonic()
        if worker not in self._workers or worker.ended_for is not None:
            return
        if self._expected is not None and worker.detector != _detector(self._expected):
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
        wanted = self.limits.size + self._stand_ins()
        while len(self._workers) < wanted:
            self._start()

    def _stand_ins(self) -> int:
        """How many workers stand in for others. None while these have much memory: large pictures take their time."""
        now = time.monotonic()
        long = sum(worker.job is not None and now - worker.since > _LONG_S for worker in self._workers)
        if not long or not self._waiting:
            return 0
        resident = sum(_resident_bytes(worker.process.pid) for worker in self._workers)
        return min(long, self.limits.size) if resident < self.limits.size * self.limits.memory_bytes / 2 else 0

    def _start(self) -> None:
        process = self._server.launch(lambda status: self._ended(worker, status))
        worker = _Worker(process, time.monotonic())
        self._workers.append(worker)
        asyncio.get_running_loop().add_reader(process.connection.fileno(), self._listen, worker)
        self._make_ready(worker)

    def _make_ready(self, worker: _Worker) -> None:
        assert self._expected is not None
        worker.since = time.monotonic()
        worker.detector = _detector(self._expected)
        task = Task(spec=self._expected, cpu_s=int(_START_S))
        worker.room = SharedMemory.empty(task.room)
        worker.process.send(task, worker.room)  # where this fails, the worker's end is told by the fork server

    def _listen(self, worker: _Worker) -> None:
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

    def _answered(self, worker: _Worker, done: Done) -> None:
        health = self._health
        health.silent_since = time.monotonic() if self._waiting else None
        if worker.room is not None:
            if not self._became_ready(worker, worker.room, done):
                return
        elif worker.job is not None and not worker.job.answer.done():
            try:
                worker.job.answer.set_result(worker.job.read(done, worker.job.room))
            except ValueError:
                self._end(worker, "crashed")
                return
        self._release(worker)

    def _became_ready(self, worker: _Worker, room: SharedMemory, done: Done) -> bool:
        worker.room = None
        with room, contextlib.suppress(ValueError):
            document = Document.model_validate_json(room.read(0, done.document_bytes))
            if document.fault is None:
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

    def _end(self, worker: _Worker, reason: str) -> None:
        if worker.ended_for is None:
            worker.ended_for = reason
            self._server.kill(worker.process)

    def _ended(self, worker: _Worker, status: int | None) -> None:
        """A worker has ended; replace it."""
        if worker not in self._workers:
            return
        if worker.job is not None and worker.ended_for is None:
            with contextlib.suppress(OSError, ValueError, EOFError):
                self._answered(worker, worker.process.receive())  # it ended after its answer
        reason = worker.ended_for or _reason(status)
        if not worker.ready:
            reason = "not_ready"
            self._health.failed_starts += 1
            pause = min(_SHORTEST_PAUSE_S * 2**self._health.failed_starts, _LONGEST_PAUSE_S)
            self._not_before = time.monotonic() + pause
        if not self.alive - worker.ready:
            self._health.started_at = time.monotonic()
        self._forget(worker, self._error(reason))
        if reason != "surplus":
            log.warning("worker_ended", pool=self.name, reason=reason, status=status, pid=worker.process.pid)
            self._on_end(self.name, reason)
        self._fill()

    def _forget(self, worker: _Worker, error: ServiceError) -> None:
        self._workers.remove(worker)
        if worker in self._free:
            self._free.remove(worker)
        if worker.room is not None:
            worker.room.close()
        asyncio.get_running_loop().remove_reader(worker.process.connection.fileno())
        worker.process.connection.close()
        if worker.job is not None and not worker.job.answer.done():
            worker.job.answer.set_exception(error)

    def _error(self, reason: str) -> ServiceError:
        if reason == "deadline":
            return DeadlineExceededError(
                f"reading the file took more than {self.limits.deadline_s:g} s: send a smaller one, or the camera's own"
            )
        what = {
            "memory": "takes more memory than it may take",
            "processor_time": "takes more processor time than it may take",
        }.get(reason, "makes its decoder crash")
        return DecoderFailedError(f"this file {what}: send a smaller one, or the camera's own file")

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            for worker in self._workers[:]:
                if reason := self._fault_of(worker, now):
                    self._end(worker, reason)
            self._fill()

    def _fault_of(self, worker: _Worker, now: float) -> str | None:
        """Why a worker is to be ended; None if it may go on."""
        if _resident_bytes(worker.process.pid) > self.limits.memory_bytes:
            return "memory"
        if worker.left_at is not None and now - worker.left_at > _LEFT_S:
            return "abandoned"
        if worker.job is not None:
            return "deadline" if now - worker.since > self.limits.deadline_s else None
        if worker.room is not None and now - worker.since > _START_S:
            if worker.process.pid is None:
                self._server.restart()  # it did not even fork
            return "not_ready"
        return None


def _detector(spec: PreparationSpec) -> object:
    return spec.detector, spec.detector_model


async def _shared(content: bytes) -> SharedMemory:
    """Shared memory with this content. What takes long is copied in a thread."""
    if len(content) < 1 << 20:
        return SharedMemory.holding(content)
    return await asyncio.to_thread(SharedMemory.holding, content)


def _reason(status: int | None) -> str:
    if status is None:
        return "fork_server_ended"
    if status == -signal.SIGXCPU:
        return "processor_time"
    return "killed" if status == -signal.SIGKILL else "crashed"


def _resident_bytes(pid: int | None) -> int:
    """Memory of a process; 0 if it has none any more."""
    if pid is None:
        return 0
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 (this runs ten times a second for each worker)
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
