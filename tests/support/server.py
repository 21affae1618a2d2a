"""A real service: the installed command, in a process of its own, over a real socket."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support.privacy import leak_in

_COMMAND = Path(sys.executable).parent / "liveness"


@dataclass(frozen=True, slots=True)
class Server:
    """A started service."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def processes(self) -> list[int]:
        """Itself, then the process that its workers are forked from, then these."""
        return _with_children(self.process.pid)

    def memory_mb(self, field: str, *, alone: bool = False) -> float:
        """Memory of all its processes: `VmRSS` now, `VmHWM` the peak of each, with what they share counted for each;
        `Pss` now, with that counted once. `alone` leaves all processes out that it has started.
        """
        file = "smaps_rollup" if field == "Pss" else "status"
        total = 0
        for pid in self.processes()[: 1 if alone else None]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, StopIteration):
                lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])
        return total / 1024

    def processor_s(self) -> float:
        """Processor time of all its processes so far, as the scheduler counts it."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                tasks = Path(f"/proc/{pid}/task").iterdir()
                total += sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        return total / 1e9

    def stop(self) -> int:
        """Ask it to stop, as an orchestrator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def _with_children(pid: int) -> list[int]:
    below: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (task / "children").read_text().split())
    return [pid, *(found for child in below for found in _with_children(child))]


@contextmanager
def running_server(
    folder: Path, *, command: Sequence[str | Path] = (_COMMAND,), start_s: float = 60, **settings: str
) -> Iterator[Server]:
    """Start a service and stop it in the end.

    Args:
        folder: for its log; also its working directory, so that nothing depends on the checkout.
        command: what starts it; by default what is installed.
        start_s: longest time that it may take to start.
        settings: LIVENESS_ variables without the prefix, in lower case.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVENESS_")}
    environment |= {"LIVENESS_LOG_FORMAT": "json", "PORT": "0"}
    environment |= {f"LIVENESS_{name.upper()}": value for name, value in settings.items()}
    log_file = folder / "service.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([*command, "serve"], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        server = Server(f"http://127.0.0.1:{port_in_log(process, log_file, timeout_s=start_s)}", process, log_file)
        with server.client() as client:
            client.get("/health/live").raise_for_status()
        yield server
        process.kill()
        process.wait()
        if (leak := leak_in(log_file.read_bytes())) is not None:
            raise AssertionError(f"the service logged {leak}")
    finally:
        process.kill()
        process.wait()


def port_in_log(
    process: subprocess.Popen[bytes], log_file: Path, line: str = "Uvicorn running on http://", timeout_s: float = 60
) -> int:
    """Wait until a server that was told to listen on port 0 logs the port that it got.

    Args:
        process: the server; when it ends before it tells a port, AssertionError shows its log.
        log_file: where it logs.
        line: what stands before ADDRESS:PORT in its log.
        timeout_s: longest wait.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if found := re.search(re.escape(line) + r"[\d.]+:(\d+)", log_file.read_text()):
            return int(found[1])
        if ended:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log_file.read_text()}")


def free_port() -> int:
    """A port that nobody listens on now, for servers that cannot choose one themselves.

    Another process may take it before it is used; whoever calls this tries again with another one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
