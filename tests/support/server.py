"""A real service: the installed command, in a process of its own, over a real socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

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

    def stop(self) -> int:
        """Ask it to stop, as an orchestrator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def running_server(folder: Path, **settings: str) -> Iterator[Server]:
    """Start a service and stop it in the end.

    Args:
        folder: for its log; also its working directory, so that nothing depends on the checkout.
        settings: LIVENESS_ variables without the prefix, in lower case.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVENESS_")}
    environment |= {"LIVENESS_LOG_FORMAT": "json", "PORT": str(port)}
    environment |= {f"LIVENESS_{name.upper()}": value for name, value in settings.items()}
    log_file = folder / "service.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([_COMMAND, "serve"], cwd=folder, env=environment, stdout=log, stderr=log)
    server = Server(f"http://127.0.0.1:{port}", process, log_file)
    try:
        _wait_until_live(server)
        yield server
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_live(server: Server, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    with server.client() as client:
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                break
            try:
                client.get("/health/live").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
    raise AssertionError(f"the service did not start:\n{server.log_file.read_text()}")
