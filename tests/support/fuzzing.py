"""Send many mutated files to a real service and see what it answers, how long it takes and what it keeps.

    PYTHONPATH=tests python tests/support/fuzzing.py --images 20000 --clips 2000 --out FILE.json

writes a report; exit status 1 where a limit below is broken. The tests run a short form of it.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from support.mutation import clip_seeds, image_seeds, mutated
from support.server import Server, running_server
from support.usage import Usage, usage

ALLOWED_FAULTS = {503, 504}
"""Statuses of 500 and more that a busy service may give; any other is a fault of ours."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A case among the slowest ten."""

    case: int
    seed: str
    size: int
    status: int
    milliseconds: float


@dataclass(slots=True)
class Report:
    """What came of the cases of one endpoint."""

    path: str
    cases: int
    deadline_ms: int
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Cases without an answer, or with a status that is a fault of ours."""
    slowest: list[Slow] = field(default_factory=list)
    late: int = 0
    """Cases that were answered after the deadline."""
    before: Usage | None = None
    """After the warm-up."""
    after: Usage | None = None

    def growth(self) -> float:
        """Memory at the end over memory after the warm-up."""
        assert self.before is not None
        assert self.after is not None
        return self.after.memory_mb / self.before.memory_mb

    def broken(self, *, most_growth: float) -> list[str]:
        """The limits that were broken, in words; none where all held."""
        assert self.before is not None
        assert self.after is not None
        found = [*self.faults]
        if self.late:
            found.append(f"{self.late} cases past the deadline: {self.slowest}")
        if self.growth() > most_growth:
            found.append(f"memory grew by {self.growth():.3f}: {self.before} {self.after}")
        if self.after.processes > self.before.processes:
            found.append(f"processes were left: {self.before} {self.after}")
        # Connections and threads come and go; a leak would leave one for each of many cases.
        if self.after.threads > self.before.threads + 10 or self.after.descriptors > self.before.descriptors + 10:
            found.append(f"threads or descriptors were left: {self.before} {self.after}")
        return found

    def summary(self) -> dict[str, object]:
        """For JSON."""
        shown = asdict(self)
        shown["statuses"] = {str(status): count for status, count in sorted(self.statuses.items())}
        shown["codes"] = dict(self.codes.most_common())
        shown["memory_growth"] = round(self.growth(), 4)
        return shown


def fuzz(
    server: Server,
    path: str,
    seeds: Mapping[str, bytes],
    numbers: range,
    *,
    deadline_ms: int,
    warm_up: int,
    connections: int = 2,
) -> Report:
    """Send the mutated cases of these numbers to an endpoint, one after the other on each connection.

    Args:
        server: a running service.
        path: of the endpoint.
        seeds: real files by name.
        numbers: of the cases.
        deadline_ms: what the service promises; a case may take half a second more, for the machine and the client.
        warm_up: so many cases come before memory is first measured.
        connections: at once.
    """
    report = Report(path, len(numbers), deadline_ms)
    lock = threading.Lock()

    def send(client: httpx.Client, number: int) -> None:
        name, content = mutated(dict(seeds), number)
        began = time.perf_counter()
        try:
            answer = client.post(path, content=content)
        except httpx.HTTPError as error:
            with lock:
                report.faults.append(f"case {number} ({name}): no answer: {error!r}")
            return
        milliseconds = 1000 * (time.perf_counter() - began)
        with lock:
            report.statuses[answer.status_code] += 1
            if answer.headers.get("content-type") == "application/problem+json":
                report.codes[answer.json()["code"]] += 1
            if answer.status_code >= 500 and answer.status_code not in ALLOWED_FAULTS:
                report.faults.append(f"case {number} ({name}): {answer.status_code} {answer.text}")
            report.late += milliseconds > deadline_ms + 500
            slow = Slow(number, name, len(content), answer.status_code, round(milliseconds, 1))
            report.slowest = sorted([*report.slowest, slow], key=lambda one: -one.milliseconds)[:10]

    def work(waiting: Iterator[int], upto: int) -> None:
        with server.client() as client:
            while (number := next(waiting)) < upto:
                send(client, number)

    def run(start: int, upto: int) -> None:
        waiting = itertools.count(start)  # `next` of it is one step for all threads
        with ThreadPoolExecutor(connections) as pool:
            for done in [pool.submit(work, waiting, upto) for _ in range(connections)]:
                done.result()

    first = min(numbers.start + warm_up, numbers.stop)
    run(numbers.start, first)
    report.before = settled(server)
    run(first, numbers.stop)
    report.after = settled(server)
    return report


def settled(server: Server) -> Usage:
    """What the service holds once the last answers are out and their memory is given back."""
    least = usage(server)
    for _ in range(5):
        time.sleep(0.2)
        now = usage(server)
        least = now if now.memory_mb < least.memory_mb else least
    return least


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=1_000_000, help="Number of the first case.")
    parser.add_argument("--out", type=Path, help="File for the report.")
    options = parser.parse_args()
    reports = []
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        for path, seeds, count, deadline_ms in (
            ("/v1/liveness", image_seeds(), options.images, 10_000),
            ("/v1/liveness/video", clip_seeds(), options.clips, 30_000),
        ):
            numbers = range(options.first, options.first + count)
            reports.append(fuzz(server, path, seeds, numbers, deadline_ms=deadline_ms, warm_up=count // 10))
        status = server.stop()
    shown = {
        "date": datetime.now(UTC).date().isoformat(),
        "exit_status": status,
        "reports": [report.summary() for report in reports],
    }
    text = json.dumps(shown, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    broken = [line for report in reports for line in report.broken(most_growth=1.05)]
    if broken or status != 0:
        sys.exit("\n".join([f"exit status {status}", *broken]))


if __name__ == "__main__":
    main()
