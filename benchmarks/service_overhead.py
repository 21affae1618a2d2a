"""What the service adds to its stages: throughput at saturation and latency of a lone request, as ratios.

    python benchmarks/service_overhead.py [--seconds 5] [--rounds 3]

Bare: decode, detect, align, measure and score the same photo in one process, in a loop on as many threads as there are
cores. Service: a real `liveness serve` process, asked over a real socket by keep-alive connections. The two take turns
in one run, because the speed of shared machines drifts; what counts is the ratio of each pair. The client runs on the
same cores as the service.
"""

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from liveness_core.alignment import LevelCrops
from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import create_detector
from liveness_core.quality import measure
from liveness_core.views import cut_views
from liveness_service.cores import available_cores
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.process import prepare_process

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.pictures import astronaut, encoded
from support.server import Server, running_server

CONTENT = encoded(astronaut(), quality=95)
CONNECTIONS = 8


def bare_stages() -> Callable[[], None]:
    prepare_process()
    bundle = load_bundle(default_bundle_path())
    detector = create_detector(bundle.manifest.detector)
    views = bundle.manifest.views

    def run() -> None:
        picture = decode_image(CONTENT, ImageLimits(50_000_000))
        (face,) = detector.detect(picture)
        crops = LevelCrops(picture, face)
        measure(picture, face, crops)
        bundle.scorer.score([cut_views(views, picture, face, crops)])

    return run


def service_request(server: Server) -> Callable[[], None]:
    """A function that sends one request over a connection of its own; every thread needs its own."""
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)

    def run() -> None:
        connection.request("POST", "/v1/liveness", CONTENT, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(body)

    return run


def throughput(workers: list[Callable[[], None]], seconds: float) -> float:
    """Calls a second, with all workers looping at once."""
    end = time.perf_counter() + seconds

    def loop(work: Callable[[], None]) -> int:
        done = 0
        while time.perf_counter() < end:
            work()
            done += 1
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(len(workers)) as pool:
        total = sum(pool.map(loop, workers))
    return total / (time.perf_counter() - started)


def latency_ms(work: Callable[[], None], seconds: float) -> float:
    """Median time of a call in milliseconds, one call after another."""
    end = time.perf_counter() + seconds
    taken = []
    while time.perf_counter() < end:
        started = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def in_turns(names: Sequence[str], count: int, measure: Callable[[str], float]) -> dict[str, list[float]]:
    """Measure `count` times what each name stands for, in turns that begin with another one each time."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(count):
        for name in names if number % 2 else reversed(names):
            found[name].append(measure(name))
    return found


def once_ms(work: Callable[[], None]) -> float:
    """Time of one call in milliseconds."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def ratio_of_pairs(found: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the pairs of neighbouring measurements of `name` / `base`."""
    return statistics.median(mine / other for mine, other in zip(found[name], found[base], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bare = bare_stages()
    bare()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, {CONNECTIONS} connections")
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        clients = [service_request(server) for _ in range(CONNECTIONS)]
        throughput(clients, 1)  # warm-up
        pairs, latencies = [], []
        for number in range(options.rounds):
            pairs.append(
                (throughput([bare] * available_cores(), options.seconds), throughput(clients, options.seconds))
            )
            latencies.append((latency_ms(bare, options.seconds), latency_ms(clients[0], options.seconds)))
            print(
                f"round {number + 1}: saturated {pairs[-1][0]:.1f} bare, {pairs[-1][1]:.1f} served a second; "
                f"alone {latencies[-1][0]:.1f} ms bare, {latencies[-1][1]:.1f} ms served"
            )
    throughput_ratio = statistics.median(served / base for base, served in pairs)
    latency_ratio = statistics.median(served / base for base, served in latencies)
    print(f"throughput, served / bare: {throughput_ratio:.2f} (target 0.90)")
    print(f"latency alone, served / bare: {latency_ratio:.2f} (target 1.10)")


if __name__ == "__main__":
    main()
