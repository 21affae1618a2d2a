"""The process that workers are forked from: `python -m liveness_service.workers.forkserver FD ENTRY MEMORY READABLE…`.

It imports what a worker needs, once, so that a worker starts within milliseconds and shares the imported memory with
all others. It never touches an upload and loads no network. FD is its connection to the service: when that closes, it
ends, and all workers end with it. Workers are reaped here, so no order can hit another process by mistake.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from pathlib import Path

from pydantic import BaseModel

from liveness_service.process import prepare_process
from liveness_service.workers.limits import OwnMemory, end_with_parent, set_limits
from liveness_service.workers.sandbox import MEANS, enter_sandbox, missing_protection

ENTRY = "liveness_service.workers.child"
"""Module whose function `work` a worker runs. Tests name another one."""
MAX_BYTES = 4096
"""Most bytes of a message on the connection to the service."""


class Order(BaseModel):
    """What the service asks for; the connection of a new worker comes with the message."""

    number: int
    """The worker's number, which the service chose."""
    kill: bool = False
    """End the worker instead of starting it."""


class News(BaseModel):
    """What the service is told."""

    number: int | None = None
    """The worker; None for the fork server itself."""
    pid: int | None = None
    """The worker has started and is this process; or the fork server has, and is ready."""
    status: int | None = None
    """The worker has ended with this exit status, or, below zero, by this signal."""
    missing: list[str] = []
    """Protection that this system does not have."""


def main() -> None:
    """Fork workers until the service closes the connection."""
    _, descriptor, entry, memory_bytes, *readable = sys.argv
    # An orchestrator may stop all processes of a group at once. The service then still finishes what it accepted.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = socket.socket(fileno=int(descriptor))
    work = importlib.import_module(entry).work
    prepare_process()
    gc.freeze()  # the collector of a worker then leaves the memory that it shares alone
    _Server(service, work, int(memory_bytes), [Path(path) for path in readable]).run()


class _Server:
    """Starts, ends and reaps workers."""

    def __init__(self, service: socket.socket, work: object, memory_bytes: int, readable: list[Path]) -> None:
        self._service = service
        self._work = work
        self._memory_bytes = memory_bytes
        self._readable = readable
        self._missing = missing_protection(readable)
        self._poll = select.poll()
        self._poll.register(service, select.POLLIN)
        self._workers: dict[int, tuple[int, int]] = {}
        """For each running worker's pidfd, its number and its pid."""

    def run(self) -> None:
        self._tell(News(pid=os.getpid(), missing=self._missing))
        while True:
            for descriptor, _events in self._poll.poll():
                if descriptor != self._service.fileno():
                    self._reap(descriptor)
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        message, descriptors, _flags, _address = socket.recv_fds(self._service, MAX_BYTES, 1)
        if not message:
            return False
        order = Order.model_validate_json(message)
        if order.kill:
            for pidfd, (number, _pid) in self._workers.items():
                if number == order.number:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return True
        self._start(order.number, socket.socket(fileno=descriptors[0]))
        return True

    def _start(self, number: int, connection: socket.socket) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(parent, connection)
        connection.close()
        pidfd = os.pidfd_open(pid)
        self._workers[pidfd] = (number, pid)
        self._poll.register(pidfd, select.POLLIN)
        self._tell(News(number=number, pid=pid))

    def _become_worker(self, parent: int, connection: socket.socket) -> None:
        """Never returns: whatever happens, the worker must not go on as a fork server."""
        status = 1
        try:
            end_with_parent(parent)
            self._service.close()
            for pidfd in self._workers:
                os.close(pidfd)
            quiet = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):  # a decoder's messages may quote the upload
                os.dup2(quiet, standard)
            os.close(quiet)
            memory = OwnMemory()
            set_limits(self._memory_bytes)
            enter_sandbox(self._readable, [means for means in MEANS if means not in self._missing])
            self._work(connection, memory)  # type: ignore[operator]  # the entry's function
            status = 0
        finally:
            os._exit(status)

    def _reap(self, pidfd: int) -> None:
        number, pid = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._tell(News(number=number, status=os.waitstatus_to_exitcode(status)))

    def _tell(self, news: News) -> None:
        self._service.send(news.model_dump_json(exclude_defaults=True).encode())


if __name__ == "__main__":
    main()
