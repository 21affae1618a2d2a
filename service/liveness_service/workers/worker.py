"""A worker as its pool sees it: what it has in hand, how long, how much memory it has, and why it ended."""

import asyncio
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from liveness_service.errors import DeadlineExceededError, DecoderFailedError, OverloadedError, ServiceError
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import Done, PreparationSpec
from liveness_service.workers.processes import Process

START_S = 20.0
"""Longest time until a new worker is ready."""
_LEFT_S = 0.5
"""A worker whose upload nobody waits for may take at least this long to end by itself, see `patience_s`."""
_LAST_JOBS = 31
"""Uploads whose times tell how long the next ones will take."""
_WAIT_SHARE = 0.7
"""Of the deadline: what an upload may wait for a worker. The rest is for its own work."""
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
"""Before the next worker is started after one has ended before it was ready."""
_LONG_S = 2.0
"""From this time on another worker may stand in for a busy one."""
_KEPT_BYTES = 2 << 20
"""Most memory that is kept for the next answer. That of a photo with one face, or of a clip, is less."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Job:
    """An upload that a worker has."""

    read: Callable[[Done, SharedMemory], Any]
    """Reads and checks the answer; a ValueError if it is malformed."""
    answer: asyncio.Future[Any]
    """What was read."""


@dataclass(slots=True)
class Worker:
    """A worker of a pool."""

    process: Process
    since: float
    """When its present work began."""
    ready: bool = False
    """Whether its detector is loaded."""
    detector: object = None
    """Which detector it has made ready last."""
    job: Job | None = None
    """The upload in work; None if there is none, as while a detector is made ready."""
    left_at: float | None = None
    """When the caller stopped to wait."""
    ended_for: str | None = None
    """Why the service ends it; None if it does not."""
    room: SharedMemory | None = None
    """The answer's memory while a detector is made ready."""
    answers: SharedMemory | None = None
    """Where the answer to an upload will be, and those to the next ones."""
    most_resident: int | None = None
    """Most memory that it may have while it has this upload; None if it has none."""

    def room_for_answer(self, size: int) -> SharedMemory:
        """Memory of this size for an answer.

        It is that of the answer before, whose pages the worker has at hand: to get 40 pages from the system anew takes
        a hundredth of a photo's time.
        """
        kept = self.answers
        if kept is None or kept.size != size or kept.taken_bytes > _KEPT_BYTES:
            self.close_room()
            kept = self.answers = SharedMemory.empty(size)
        return kept

    def close_room(self) -> None:
        """Give back the memory for its answers."""
        if self.answers is not None:
            self.answers.close()
            self.answers = None

    def excess(self, now: float, limits: "PoolLimits", patience_s: float = _LEFT_S) -> str | None:
        """Which limit it is beyond; None if none.

        Args:
            now: by `time.monotonic`.
            limits: those of the pool.
            patience_s: how long it may go on with an upload that nobody waits for.
        """
        resident = resident_bytes(self.process.pid)
        if resident > limits.memory_bytes or (self.most_resident is not None and resident > self.most_resident):
            return "memory"
        if self.left_at is not None and now - self.left_at > patience_s:
            return "abandoned"
        if self.job is not None:
            return "deadline" if now - self.since > limits.deadline_s else None
        return "not_ready" if self.room is not None and now - self.since > START_S else None


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
class Health:
    """When the pool was last seen to do its work."""

    failed_starts: int = 0
    """Workers that ended before they were ready, since the last one that became ready."""
    silent_since: float | None = None
    """Since when work waits and no worker has answered; None if none waits."""
    started_at: float = field(default_factory=time.monotonic)
    """When the first worker, or the first one after all had ended, was started."""
    start_s: float = 0.0
    """How long the last worker took to become ready."""
    job_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST_JOBS))
    """How long the last uploads were in work, those that nobody waited for any more included."""

    def refuse_what_comes_too_late(self, name: str, waiting: int, alive: int, deadline_s: float) -> None:
        """Refuse an upload at once that would wait for most of its deadline.

        Without this a service that gets more than it can do answers hardly anybody in time: uploads are begun just
        before their callers give up. How long one would wait goes by the median of the last ones, which a few that hang
        do not move.

        Args:
            name: of the pool.
            waiting: uploads that wait already.
            alive: workers that are ready.
            deadline_s: of an upload.

        Raises:
            OverloadedError: it would.
        """
        if self.job_s and (waiting + 1) * statistics.median(self.job_s) / max(alive, 1) > _WAIT_SHARE * deadline_s:
            raise OverloadedError(f"more {name} wait than can be read in time: try again")

    @property
    def patience_s(self) -> float:
        """How long a worker may go on with an upload that nobody waits for: as long as it takes to get another one.

        To end it sooner could cost more than it saves. On a machine that is short of processor time every upload may be
        left by its caller, and a service that started a worker for each of them would do nothing else.
        """
        return min(max(_LEFT_S, self.start_s), START_S)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return min(_SHORTEST_PAUSE_S * 2.0 ** min(self.failed_starts, 10), _LONGEST_PAUSE_S)

    def fault(self, name: str, alive: int, deadline_s: float) -> str | None:
        """Why the pool of this name, with so many workers, does not do its work; None if it does."""
        now = time.monotonic()
        if not alive and (self.failed_starts > 2 or now - self.started_at > START_S):
            return f"no worker for {name} can be started: see the log"
        if self.silent_since is not None and now - self.silent_since > deadline_s:
            return f"no worker for {name} has answered for {now - self.silent_since:.0f} s while uploads wait"
        return None


def stand_ins(workers: Sequence[Worker], limits: PoolLimits) -> int:
    """How many workers stand in for busy ones. None while these have much memory: large pictures take their time."""
    now = time.monotonic()
    long = sum(worker.job is not None and now - worker.since > _LONG_S for worker in workers)
    if not long:
        return 0
    resident = sum(resident_bytes(worker.process.pid) for worker in workers)
    return min(long, limits.size) if resident < limits.size * limits.memory_bytes / 2 else 0


def error_of(reason: str, deadline_s: float) -> ServiceError:
    """What the upload is answered whose worker ended for this reason."""
    if reason == "deadline":
        return DeadlineExceededError(
            f"reading the file took more than {deadline_s:g} s: send a smaller one, or the camera's own"
        )
    what = {
        "memory": "takes more memory than it may take",
        "processor_time": "takes more processor time than it may take",
    }.get(reason, "makes its decoder crash")
    return DecoderFailedError(f"this file {what}: send a smaller one, or the camera's own file")


def detector_of(spec: PreparationSpec) -> object:
    """What tells the detectors of two models apart."""
    return spec.detector, spec.detector_model


async def shared(content: bytes) -> SharedMemory:
    """Shared memory with this content. What takes long is copied in a thread."""
    if len(content) < 1 << 20:
        return SharedMemory.holding(content)
    return await asyncio.to_thread(SharedMemory.holding, content)


def reason_of(status: int | None) -> str:
    """Why a worker ended that the service did not end, by its exit status; None if the fork server has ended."""
    if status is None:
        return "fork_server_ended"
    if status == -signal.SIGXCPU:
        return "processor_time"
    return "killed" if status == -signal.SIGKILL else "crashed"


def resident_bytes(pid: int | None) -> int:
    """Memory of a process; 0 if it has none any more."""
    if pid is None:
        return 0
    try:
        # For each upload, and ten times a second: a file object of Python's would take twice as long.
        file = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(file, 256).split()[1]) * _PAGE_BYTES
        finally:
            os.close(file)
    except (OSError, IndexError):
        return 0
