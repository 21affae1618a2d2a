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
    port, process = _started(program, folder)
    try:
        yield Redis(f"redis://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _started(program: str, folder: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """Redis takes no port 0: start it on a free one, and on another where somebody else was faster."""
    for _ in range(5):
        port = free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        if _listens(process, port):
            return port, process
        process.kill()
        process.wait()
    raise AssertionError("redis-server did not start")


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(200):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
