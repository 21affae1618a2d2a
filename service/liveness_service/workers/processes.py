"""The service's side of the fork server: starts it, starts and ends workers through it, hears when one has ended."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from pydantic import ValidationError

from liveness_service.workers import forkserver
from liveness_service.workers.forkserver import MAX_BYTES, News, Order
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MAX_MESSAGE_BYTES, Done, Task

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
"""Before the fork server is started again after it has ended by itself."""
_KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "ORT_DISABLE_TELEMETRY", "PATH", "TZ", "VIRTUAL_ENV")
_KEPT_KINDS = ("LC_", "PILLOW_", "PYTHON")
"""Environment variables that workers get, and the beginnings of such. The others may hold keys and passwords."""


class Process:
    """A worker process, from its start to its end."""

    def __init__(self, number: int, connection: socket.socket, on_end: Callable[[int | None], None]) -> None:
        self.number = number
        self.connection = connection
        """To the worker; not blocking."""
        self.pid: int | None = None
        """None until the fork server has told it."""
        self.on_end = on_end
        self._last: tuple[Task | None, bytes] = (None, b"")  # what was sent last; most tasks are the same object

    def send(self, task: Task, room: SharedMemory, upload: SharedMemory | None = None) -> bool:
        """Give the worker a task, with the memory for its answer and that of the upload; False if it has ended."""
        if task is not self._last[0]:
            self._last = (task, task.model_dump_json(exclude_defaults=True).encode())
        descriptors = [room.fd] if upload is None else [room.fd, upload.fd]
        try:
            socket.send_fds(self.connection, [self._last[1]], descriptors)
        except OSError:
            return False
        return True

    def receive(self) -> Done:
        """The worker's message.

        Raises:
            BlockingIOError: there is none yet.
            EOFError: the worker has hung up.
            OSError: the connection is broken.
            ValueError: the worker says what no worker says.
        """
        message = self.connection.recv(MAX_MESSAGE_BYTES)
        if not message:
            raise EOFError
        return Done.model_validate_json(message)


class ForkServer:
    """Starts worker processes. It is used in one event loop only."""

    def __init__(self, memory_bytes: int, readable: Sequence[Path] = ()) -> None:
        """Make it; `start` starts the process.

        Args:
            memory_bytes: most memory that each worker can allocate.
            readable: files and folders that workers may read beside Python's own.
        """
        self.on_ready: list[Callable[[], None]] = []
        """Called each time that workers can be started."""
        self.missing: list[str] = []
        """Protection that this system does not have; known once the fork server is ready."""
        self._arguments = [str(memory_bytes), *map(str, readable)]
        self._child: subprocess.Popen[bytes] | None = None
        self._service: socket.socket | None = None
        self._ready = False
        self._told_missing = False
        self._closed = False
        self._pause_s = _SHORTEST_PAUSE_S
        self._workers: dict[int, Process] = {}
        self._next = 0

    @property
    def ready(self) -> bool:
        """Whether workers can be started."""
        return self._ready

    def start(self) -> None:
        """Start the process; `on_ready` tells when it can start workers."""
        service, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        service.setblocking(False)
        with other:
            command = [sys.executable, "-P", "-m", forkserver.__name__, str(other.fileno()), forkserver.ENTRY]
            self._child = subprocess.Popen(  # noqa: S603 (this Python and this package)
                [*command, *self._arguments],
                pass_fds=[other.fileno()],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._service = service
        asyncio.get_running_loop().add_reader(service.fileno(), self._listen)

    def launch(self, on_end: Callable[[int | None], None]) -> Process:
        """Start a worker; the fork server must be ready.

        Args:
            on_end: called once when the worker has ended, with its exit status, below zero for a signal; None if the
                fork server has ended.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._next += 1
        process = Process(self._next, ours, on_end)
        self._workers[process.number] = process
        with its:
            self._order(Order(number=process.number), [its.fileno()])
        return process

    def kill(self, process: Process) -> None:
        """End a worker; `on_end` tells when it has ended."""
        if process.number in self._workers:
            self._order(Order(number=process.number, kill=True))

    def restart(self) -> None:
        """End the fork server, and all workers with it; it starts again by itself."""
        if self._child is not None:
            self._child.kill()

    async def close(self) -> None:
        """End the fork server and all workers."""
        self._closed = True
        self._hang_up()
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await asyncio.to_thread(child.wait)

    def _order(self, order: Order, descriptors: Sequence[int] = ()) -> None:
        assert self._service is not None
        try:
            socket.send_fds(self._service, [order.model_dump_json().encode()], list(descriptors))
        except (BlockingIOError, OSError):
            # It no longer reads, or is gone. In either case its end is noticed, and everything starts anew.
            self.restart()

    def _listen(self) -> None:
        assert self._service is not None
        try:
            message = self._service.recv(MAX_BYTES)
            news = News.model_validate_json(message) if message else None
        except BlockingIOError:
            return
        except (OSError, ValidationError):
            news = None
        if news is None:
            self._lost()
        elif news.number is None:
            self._ready, self.missing = True, news.missing
            self._tell_missing()
            for callback in self.on_ready:
                callback()
        elif news.status is None:
            self._workers[news.number].pid = news.pid
            self._pause_s = _SHORTEST_PAUSE_S
        else:
            self._workers.pop(news.number).on_end(news.status)

    def _tell_missing(self) -> None:
        if not self._told_missing:
            self._told_missing = True
            if self.missing:
                log.warning(
                    "workers_less_protected",
                    missing=self.missing,
                    note="workers are bounded in memory, time and files in any case; see docs/monitoring.md",
                )

    def _lost(self) -> None:
        """The fork server has ended: so have all workers."""
        self._hang_up()
        child, self._child = self._child, None
        status = None
        if child is not None:
            child.kill()
            status = child.wait()  # it has ended or ends now
        log.error("fork_server_ended", status=status)
        workers, self._workers = self._workers, {}
        for process in workers.values():
            process.on_end(None)
        if not self._closed:
            asyncio.get_running_loop().call_later(self._pause_s, self._start_again)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _start_again(self) -> None:
        if not self._closed:
            self.start()

    def _hang_up(self) -> None:
        self._ready = False
        if self._service is not None:
            asyncio.get_running_loop().remove_reader(self._service.fileno())
            self._service.close()
            self._service = None


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_KINDS)}
    # A library that starts threads when it is imported could not be forked safely.
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
