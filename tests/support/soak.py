"""Load a real service for long and see whether it slows down or grows.

    PYTHONPATH=tests python tests/support/soak.py --minutes 30 --out FILE.json

finds what the service can do on this machine, then sends 70 % of it: photos of several kinds, clips, and files that are
refused. Exit status 1 where memory rises or answers get slower. The tests run a short form of it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from support.clips import person_clip
from support.load import Outcome, send_at_rate
from support.pictures import astronaut, encoded, no_face
from support.server import Server, running_server
from support.usage import Usage, usage

CLIP_SHARE = 0.02
"""Clips among the requests."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of the run."""

    minutes: float
    """At its end, since the start."""
    memory_mb: float
    service_mb: float
    """The share of it that the service's own process has; the workers have the rest."""
    p50_ms: float
    p99_ms: float
    answers: int
    not_answered: int
    """Photos and clips without an answer or with status 500 and more."""


@dataclass(frozen=True, slots=True)
class Soak:
    """A whole run."""

    requests_per_s: float
    parts: tuple[Part, ...]
    before: Usage
    """After the first quarter of the parts, which is the warm-up."""
    after: Usage

    @property
    def steady(self) -> tuple[Part, ...]:
        """The parts after the warm-up."""
        return self.parts[len(self.parts) // 4 :]

    @property
    def slope_mb_per_min(self) -> float:
        """How fast memory rises after the warm-up: the median of the slopes between all pairs of parts."""
        steady = self.steady
        return float(
            np.median(
                [
                    (later.memory_mb - part.memory_mb) / (later.minutes - part.minutes)
                    for number, part in enumerate(steady)
                    for later in steady[number + 1 :]
                ]
            )
        )

    @property
    def p99_ratio(self) -> float:
        """The median p99 of the second half of the steady parts over that of the first."""
        steady = [part.p99_ms for part in self.steady]
        half = len(steady) // 2
        return float(np.median(steady[half:]) / np.median(steady[:half]))

    def summary(self) -> dict[str, object]:
        """For JSON."""
        return {
            **asdict(self),
            "slope_mb_per_min": round(self.slope_mb_per_min, 3),
            "p99_ratio": round(self.p99_ratio, 3),
        }


def photos() -> list[bytes]:
    """What a service gets in a day: small and large, of all kinds, some of nobody, some broken."""
    small = np.ascontiguousarray(astronaut()[:256, 96:352])
    large = cv2.resize(astronaut(), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    return [
        encoded(astronaut(), "JPEG"),
        encoded(small, "PNG"),
        encoded(large, "JPEG"),
        encoded(small, "WEBP"),
        encoded(no_face(), "JPEG"),
        encoded(small, "JPEG")[:4_000],
        encoded(small, "JPEG", progressive=True),
        b"Dear service,",
    ]


def capacity(server: Server, contents: Sequence[bytes], seconds: float) -> float:
    """Requests/s that four connections get answered, one after the other on each."""
    end = time.perf_counter() + seconds

    def work(start: int) -> int:
        done = 0
        with server.client() as client:
            while time.perf_counter() < end:
                client.post("/v1/liveness", content=contents[(start + done) % len(contents)])
                done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(work, range(4))) / seconds


async def soak(server: Server, *, minutes: float, parts: int, load: float = 0.7, measured_s: float = 8) -> Soak:
    """Send a share of what the service can do, which takes `measured_s` to find out, and look at it after each part."""
    contents, clips = photos(), [person_clip()]
    # A clip takes about as long as ten photos.
    rate = load * await asyncio.to_thread(capacity, server, contents, measured_s) / (1 + 10 * CLIP_SHARE)
    seconds = 60 * minutes / parts
    found: list[Part] = []
    began = time.perf_counter()
    before = usage(server)
    for number in range(parts):
        one, other = await asyncio.gather(
            send_at_rate(server.url, contents, rate, seconds),
            send_at_rate(server.url, clips, max(CLIP_SHARE * rate, 0.2), seconds, path="/v1/liveness/video"),
        )
        now = usage(server)
        found.append(
            Part(
                minutes=round((time.perf_counter() - began) / 60, 3),
                memory_mb=round(now.memory_mb, 1),
                service_mb=round(server.memory_mb("Pss", alone=True), 1),
                p50_ms=round(one.percentile_ms(0.5), 1),
                p99_ms=round(one.percentile_ms(0.99), 1),
                answers=len(one.latencies_s) + len(other.latencies_s),
                not_answered=_not_answered(one) + _not_answered(other),
            )
        )
        if number + 1 == parts // 4:
            before = now
    return Soak(round(rate, 1), tuple(found), before, usage(server))


def _not_answered(outcome: Outcome) -> int:
    faults = sum(count for status, count in outcome.statuses.items() if status >= 500)
    return faults + outcome.failures.total()


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, help="File for the report.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        done = asyncio.run(soak(server, minutes=options.minutes, parts=max(12, round(options.minutes))))
        status = server.stop()
    text = json.dumps({"date": datetime.now(UTC).date().isoformat(), "exit_status": status, **done.summary()}, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    if done.slope_mb_per_min > 1 or done.p99_ratio > 1.5 or status != 0:
        sys.exit(f"slope {done.slope_mb_per_min:.2f} MB/min, p99 {done.p99_ratio:.2f}, exit status {status}")


if __name__ == "__main__":
    main()
