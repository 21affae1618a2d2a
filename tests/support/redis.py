"""A real Redis server, in a process of its own."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.server import free_port


@dataclass(frozen=True, slots=True)
class Redis:
    """A started server."""

    url: str
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        """Let it take connections and answer nothing, as behind a broken network."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Let it refuse connections."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_redis(folder: Path) -> Iterator[Redis]:
    """Start a server that keeps nothing, and stop it in the end; the test is skipped where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine (apt-get install redis-server)")
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(port)
        yield Redis(f"redis://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("redis-server did not start")
