"""What the service adds to its stages: throughput at saturation and latency of a lone request, as ratios.

    python benchmarks/service_overhead.py [--seconds 2] [--rounds 12]

Bare: decode, detect, align, measure and score the same photo in one process, in a loop on as many threads as there are
cores. Service: a real `liveness serve` process, asked over a real socket by wrk's keep-alive connections, whose own
time is next to nothing on the cores that it shares. The two take turns in one run, because the speed of shared machines
drifts from one second to the next; what counts is the ratio of each pair.
"""

import argparse
import http.client
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from liveness_core.alignment import LevelCrops
from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import create_detector
from liveness_core.quality import measure
from liveness_core.views import cut_views
from liveness_service.cores import available_cores
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.process import prepare_process

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from serving import Service, closed_loop, ours

from support.pictures import astronaut, encoded
from support.server import Server

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


def served_rate(service: Service, seconds: int) -> float:
    """Photos that the service answers a second while wrk keeps all connections busy.

    Counted by the service, in the middle of wrk's run: what is still under way when wrk ends is lost to it.
    """

    def answered() -> float:
        page = httpx.get(service.url.replace("/v1/liveness", "/metrics")).text
        counter = re.search(
            r'^liveness_requests_total\{endpoint="/v1/liveness",status="200"\} (\S+)$', page, re.MULTILINE
        )
        return float(counter[1]) if counter else 0.0

    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(closed_loop, service, CONTENT, CONNECTIONS, seconds + 1)
        time.sleep(0.5)
        started, before = time.perf_counter(), answered()
        time.sleep(seconds)
        rate = (answered() - before) / (time.perf_counter() - started)
        loop.result()
    return rate


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
    parser.add_argument("--seconds", type=int, default=2, help="of a turn; wrk knows whole ones only")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    seconds, cores = options.seconds, available_cores()
    bare = bare_stages()
    bare()
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, {CONNECTIONS} connections, Python {sys.version.split()[0]}")
    with ours() as service:
        measures: dict[str, Callable[[], float]] = {
            "saturated, bare": lambda: throughput([bare] * cores, seconds),
            "saturated, served": lambda: served_rate(service, seconds),
            "alone, bare": lambda: latency_ms(bare, seconds),
            "alone, served": lambda: closed_loop(service, CONTENT, 1, seconds)["p50"],
        }
        measures["saturated, served"]()  # warm-up
        found = in_turns(tuple(measures), options.rounds, lambda name: measures[name]())
    for name, values in found.items():
        print(f"{name}: median {statistics.median(values):.1f}, {min(values):.1f} to {max(values):.1f}")
    for kind, unit, target in (("saturated", "photos a second", "0.90"), ("alone", "latency", "1.10")):
        ratio = ratio_of_pairs(found, f"{kind}, served", f"{kind}, bare")
        print(f"{kind}, {unit}, served / bare: {ratio:.2f} (target {target})")


if __name__ == "__main__":
    main()
