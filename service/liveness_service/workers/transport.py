"""Sends tasks to workers and takes their messages. The connection keeps messages apart and never makes anybody wait."""

import socket

from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MAX_MESSAGE_BYTES, Done, Task
from liveness_service.workers.processes import Process


def send_task(process: Process, task: Task, room: SharedMemory, upload: SharedMemory | None = None) -> bool:
    """Give a worker a task, with the memory for its answer and that of the upload; False if it has ended."""
    descriptors = [room.fd] if upload is None else [room.fd, upload.fd]
    try:
        socket.send_fds(process.connection, [task.model_dump_json(exclude_defaults=True).encode()], descriptors)
    except OSError:
        return False
    return True


def receive(process: Process) -> Done:
    """A worker's message.

    Raises:
        BlockingIOError: there is none yet.
        EOFError: the worker has hung up.
        OSError: the connection is broken.
        ValidationError: the worker says what no worker says.
    """
    message = process.connection.recv(MAX_MESSAGE_BYTES)
    if not message:
        raise EOFError
    return Done.model_validate_json(message)
