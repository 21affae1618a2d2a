"""Services to compare, each in processes of its own, and what they cost: processor time, memory, requests.

The closed loop is wrk's (Debian's package `wrk`): a client in C, which takes hardly any time from the cores that it
shares with the services. Processor time is the scheduler's own count of all of a service's processes, so other
work on the machine disturbs it less than it disturbs latencies.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.clips import clip, person
from support.pictures import astronaut, encoded
from support.server import free_port, running_server

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT.parent / "shared" / "peers"
BEFORE = "4b509dd"
"""The commit that the targets of speed are measured against."""
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "%s"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%%d,"seconds":%%f,"p50":%%f,"p95":%%f,"p99":%%f,"refused":%%d,"wrong":%%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, errors.status,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class SkippedError(RuntimeError):
    """A part of the benchmark cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs."""

    name: str
    url: str
    """Where photos are posted."""
    pid: int
    clips: str = ""
    """Where clips are posted; empty if it takes none."""

    def processor_ms(self) -> float:
        """Processor time of all its processes so far."""
        return sum(_processor_ms(pid) for pid in self.processes())

    def memory_mb(self) -> float:
        """Memory of all its processes now; what they share counts once."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
        return total / 1024

    def processes(self) -> list[int]:
        return _with_children(self.pid)


def _with_children(pid: int) -> list[int]:
    below: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (task / "children").read_text().split())
    return [pid, *(found for child in below for found in _with_children(child))]


def _processor_ms(pid: int) -> float:
    """With the time of its threads that have ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@contextmanager
def ours(name: str = "ours", source: Path = ROOT, **settings: str) -> Iterator[Service]:
    """This service, or that of another commit's work tree."""
    path = ":".join(str(source / part) for part in ("core", "service", "training"))
    with tempfile.TemporaryDirectory() as folder:
        # Not the installed command: it names a module that older commits lack.
        start = "from liveness_service.cli import app; app()"
        command = ("env", f"PYTHONPATH={path}", sys.executable, "-c", start)
        with running_server(Path(folder), command=command, start_s=300, **settings) as server:
            with server.client() as client:
                _wait(lambda: client.get("/health/ready").status_code == httpx.codes.OK, name)
            yield Service(
                name, f"{server.url}/v1/liveness", server.process.pid, clips=f"{server.url}/v1/liveness/video"
            )


@contextmanager
def ours_before() -> Iterator[Service]:
    """This service at the commit that the targets are measured against, with today's packages."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        made = subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--detach", tree, BEFORE],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise SkippedError(f"the history has no {BEFORE}: {made.stderr.strip()}")
        try:
            with ours(BEFORE, tree, max_inflight="128") as service:
                yield service
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], capture_output=True, check=False)


@contextmanager
def simple(peers: Path = PEERS) -> Iterator[Service]:
    """The 25 lines of `peers/simple_service.py`."""
    if not peers.is_dir():
        raise SkippedError(f"the networks of Silent-Face-Anti-Spoofing are not in {peers}")
    with _process("simple", [sys.executable, ROOT / "benchmarks/peers/simple_service.py", "{port}", peers]) as (
        url,
        pid,
    ):
        yield Service("simple", f"{url}/liveness", pid)


@contextmanager
def human(modules: Path | None) -> Iterator[Service]:
    """`@vladmandic/human` under Node."""
    if shutil.which("node") is None or modules is None or not (modules / "node_modules").is_dir():
        raise SkippedError(
            "needs node, and `npm install --ignore-scripts` in a copy of benchmarks/peers (--human FOLDER)"
        )
    with _process("human", ["node", ROOT / "benchmarks/peers/human_service.mjs", "{port}", modules]) as (url, pid):
        yield Service("human", f"{url}/", pid)


@contextmanager
def _process(name: str, command: list[Any]) -> Iterator[tuple[str, int]]:
    port = free_port()
    with tempfile.TemporaryFile() as log:
        arguments = [str(port) if part == "{port}" else str(part) for part in command]
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                if process.poll() is not None:
                    log.seek(0)
                    raise SkippedError(f"{name} does not start: {log.read()[-400:].decode(errors='replace')}")
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(url, timeout=60)
                    return True
                return False

            _wait(answers, name)
            yield url, process.pid
        finally:
            process.kill()
            process.wait()


def _wait(ready: Any, name: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SkippedError(f"{name} is not ready after {seconds:g} s")
        time.sleep(0.1)


def closed_loop(
    service: Service, content: bytes, connections: int, seconds: float, *, kind: str = "image/jpeg"
) -> dict[str, float]:
    """Requests one after the other on so many connections at once.

    Returns:
        `rate` (answers with status 200 a second), `p50`, `p95`, `p99` (ms), `processor_ms` of a request, `memory_mb`
        afterwards, and `wrong`: answers without status 200, and failures.
    """
    if shutil.which("wrk") is None:
        raise SkippedError("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(content)
        script.write_text(_LUA % (kind, body))
        before = service.processor_ms()
        url = service.clips if kind.startswith("video") else service.url
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "120s", "-s", script, url]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 200).stdout
    # What the last round was still at when wrk ended belongs to no answered request, but is done all the same.
    found = json.loads(printed[printed.index("{") :])
    requests = max(found["requests"], 1)
    return {
        "rate": (found["requests"] - found["refused"]) / found["seconds"],
        **{name: round(found[name], 1) for name in ("p50", "p95", "p99")},
        "processor_ms": (service.processor_ms() - before) / requests,
        "memory_mb": service.memory_mb(),
        "wrong": found["wrong"],
    }


def photo(megapixels: float) -> bytes:
    """The test face as a JPEG of a camera's quality; 0.3 megapixels is the 512×512 photo itself."""
    if megapixels <= 0.3:
        return encoded(astronaut(), quality=95)
    side = round((megapixels * 1e6) ** 0.5)
    enlarged = Image.fromarray(astronaut()).resize((side, side), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 4, (side, side, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(enlarged) + noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def short_clip() -> bytes:
    """Three seconds of a person, 640×480, 30 frames a second, H.264."""
    return clip(lambda number: person(number, 640, 480), 3)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16")
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in wanted if flag in flags],
        "load_before": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
    }
