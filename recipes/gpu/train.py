"""Make the runs of a pack, several side by side on one card, within the minutes of one call.

    python3 recipes/gpu/train.py PACK --out RESULTS [--minutes 8] [--lanes 5]

It needs a copy of the checkout and Python 3.11 or newer with PyTorch, NumPy and OpenCV; neither a network nor an
installation of this project. The members take turns: while the runs of one are made, the processor cuts the pictures of
the next. Every run gets its share of the time that is left. The same command again goes on: runs that ended are kept,
runs that were cut off go on from their checkpoint, and runs that `take_back.py` has brought home are left out.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# A machine that is lent for minutes has this checkout and no installation of it.
SOURCES = [str(ROOT / part) for part in ("core", "training", "recipes/gpu")]
sys.path[:0] = SOURCES
NEEDED = {"torch": "PyTorch", "numpy": "NumPy", "cv2": "OpenCV (opencv-python-headless)"}
_SPARE_S = 15
"""Seconds before the end by which all is written."""
_POLL_S = 0.2


class Lanes:
    """Runs side by side, each a process of its own."""

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        self._options, self._device = options, device
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.failed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, until: float) -> None:
        """Start a run that shall end by a time."""
        options = self._options
        command = [
            sys.executable,
            str(ROOT / "recipes/gpu/run.py"),
            str(options.pack),
            name,
            "--work",
            str(options.work),
        ]
        command += ["--views", str(options.views), "--versions", str(options.versions)]
        command += ["--until", str(until), "--device", self._device]
        paths = os.pathsep.join([*SOURCES, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(options.threads)}
        folder = options.work / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "output.txt").open("ab") as output:
            self._running[name] = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def ended(self) -> list[str]:
        """The runs that have ended since the last call; those that failed are kept apart."""
        over = [name for name, process in self._running.items() if process.poll() is not None]
        for name in over:
            if status := self._running.pop(name).returncode:
                self.failed[name] = status
        return over

    def close(self) -> None:
        """End what still runs; its checkpoints stay."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait()
        self._running.clear()


def missing() -> list[str]:
    """What this machine lacks."""
    return [what for module, what in NEEDED.items() if find_spec(module) is None]


def has_gpu() -> bool:
    """Whether PyTorch has a GPU; asked in another process: importing PyTorch takes seconds."""
    question = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


def work_through(options: argparse.Namespace, started: float) -> int:
    """Make what can be made until the time is over; returns how many runs failed."""
    from packed import Pack
    from results import BROUGHT, collect, finished
    from views import pictures_of, prepare

    pack = Pack(options.pack)
    pack.picture(0)  # shows whether OpenCV can decode it before anything else is done
    device = options.device if options.device != "auto" else "cuda" if has_gpu() else "cpu"
    end = started + 60 * options.minutes - _SPARE_S
    home = options.pack / "done.json"
    skipped = json.loads(home.read_text()) if home.exists() else []
    wanted = options.runs.split(",") if options.runs else [run["name"] for run in pack.plan["runs"]]
    if unknown := {*wanted} - {run["name"] for run in pack.plan["runs"]}:
        raise SystemExit(f"{options.pack} has no run {', '.join(sorted(unknown))}")
    runs = {run["name"]: run for run in pack.plan["runs"] if run["name"] in wanted and run["name"] not in skipped}
    brought = options.work / BROUGHT
    earlier = json.loads(brought.read_text()) if brought.exists() else []

    def keep() -> None:
        collect(options.work, options.out, [*runs], earlier=earlier, most_mb=options.most_mb, file_mb=options.file_mb)

    ended = finished(options.work, [*runs])
    waiting = [name for name in runs if name not in ended]
    print(f"{len(waiting)} runs to make on {device}, {len(ended)} made before, {len(skipped)} at home", flush=True)
    lanes = Lanes(options, device)
    # Spawned, not forked: they are started while this process has threads.
    pool = ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn"))
    with pool as processes, ThreadPoolExecutor(1) as thread, closing(lanes):

        def prepared(run: dict[str, Any]) -> None:
            before = time.time()
            pictures = pictures_of(pack, run["member"], options.work, options.views, options.versions)
            prepare(pack, run, pictures, processes)
            print(
                f"{time.time() - started:4.0f} s pictures of {run['member']}: {time.time() - before:.0f} s", flush=True
            )

        ready: dict[str, Future[None]] = {}
        for name in waiting:
            member = runs[name]["member"]
            if member not in ready:
                ready[member] = thread.submit(prepared, runs[name])
        while (waiting or lanes) and time.time() < end + 0.7 * _SPARE_S:
            for name in lanes.ended():
                print(f"{time.time() - started:4.0f} s {summary(options.work / 'runs' / name)}", flush=True)
                keep()
            now = time.time()
            while waiting and len(lanes) < options.lanes and now < end and ready[runs[waiting[0]]["member"]].done():
                ready[runs[waiting[0]]["member"]].result()
                share = (end - now) / math.ceil(len(waiting) / options.lanes)
                lanes.start(waiting.pop(0), now + share)
            if not lanes and now >= end:
                break
            time.sleep(_POLL_S)
        lanes.close()
        keep()
        processes.shutdown(wait=False, cancel_futures=True)
        thread.shutdown(wait=False, cancel_futures=True)
    print((options.out / "results.json").read_text(), flush=True)
    return len(lanes.failed)


def summary(folder: Path) -> str:
    """One line of a run that has ended."""
    if not (folder / "result.json").exists():
        last = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return f"{folder.name} failed: {last[-1] if last else 'no message'}"
    found = json.loads((folder / "result.json").read_text())
    parts = [f"{name} {100 * part['auc']:.1f} / {100 * part['eer']:.1f}" for name, part in found["parts"].items()]
    return f"{folder.name}: {found['steps']} steps, {found['images_per_s']} images/s; AUC / EER {', '.join(parts)}"


def main() -> None:
    """Make the runs."""
    started = time.time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is to come back")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu" / "work", help="pictures and runs")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--lanes", type=int, default=5, help="runs side by side")
    parser.add_argument("--runs", default="", help="names with commas; else all of the pack")
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto")
    parser.add_argument("--views", type=int, default=4, help="crops of a face, the first as in the service")
    parser.add_argument("--versions", type=int, default=2, help="simulated attacks of each kind with a live face")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut pictures")
    parser.add_argument("--threads", type=int, default=1, help="of each run, on the processor")
    parser.add_argument("--most-mb", type=float, default=48, help="of all that comes back")
    parser.add_argument("--file-mb", type=float, default=15, help="of one file that comes back")
    options = parser.parse_args()
    # What another pack left is not taken for this one's.
    about = hashlib.sha256(b"".join((options.pack / name).read_bytes() for name in ("plan.json", "index.npz")))
    options.work = options.work / about.hexdigest()[:12]
    if lacks := missing():
        parser.error(f"this Python lacks {', '.join(lacks)}")
    raise SystemExit(1 if work_through(options, started) else 0)


if __name__ == "__main__":
    main()
