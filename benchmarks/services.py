"""Measure the service over real HTTP beside others that answer the same question, on the same cores in one run.

    python benchmarks/services.py [--megapixels 0.3] [--connections 16] [--seconds 5] [--rounds 3]
        [--with before,simple,human] [--human FOLDER] [--clips] [--out FILE]

`before` is this service at commit 4b509dd, `simple` the 25 lines of benchmarks/peers, `human` @vladmandic/human under
Node. All run at once and are asked in turns, since the speed of shared machines drifts: what counts are the ratios,
which are medians over the rounds. Bare stages are the same work in one process without HTTP (`service_overhead.py`).
"""

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import (
    PEERS,
    Service,
    SkippedError,
    closed_loop,
    human,
    machine,
    ours,
    ours_before,
    photo,
    short_clip,
    simple,
)


def measured(services: list[Service], content: bytes, connections: int, seconds: float, rounds: int, kind: str):
    """Medians of each service's figures, and the rates of ours divided by those of each other one."""
    for service in services:
        closed_loop(service, content, connections, min(seconds, 1), kind=kind)  # warm-up
    found: dict[str, list[dict[str, float]]] = {service.name: [] for service in services}
    for number in range(rounds):
        for service in services if number % 2 else services[::-1]:
            found[service.name].append(closed_loop(service, content, connections, seconds, kind=kind))
    figures = {
        name: {key: round(statistics.median(each[key] for each in each_round), 2) for key in each_round[0]}
        for name, each_round in found.items()
    }
    ratios = {
        name: round(
            statistics.median(
                own["rate"] / max(other["rate"], 1e-3) for own, other in zip(found["ours"], each_round, strict=True)
            ),
            2,
        )
        for name, each_round in found.items()
        if name != "ours"
    }
    return {"figures": figures, "rate_ours_divided_by": ratios}


def table(title: str, result: dict) -> str:
    lines = [f"{title}", "", "| | requests/s | p50 | p95 | p99, ms | processor time, ms | memory, MB | failed |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, row in result["figures"].items():
        cells = (f"{row[key]:g}" for key in ("rate", "p50", "p95", "p99", "processor_ms", "memory_mb", "wrong"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratios = (f"{ratio:g} times {name}" for name, ratio in result["rate_ours_divided_by"].items())
    return "\n".join([*lines, "", "requests/s of ours: " + (", ".join(ratios) or "not compared")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", default="0.3", help="of the photos, e.g. 0.3,2,12")
    parser.add_argument("--connections", default="16", help="e.g. 1,4,16,64")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with", dest="others", default="before,simple")
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder with Silent-Face's networks, for simple")
    parser.add_argument("--human", type=Path, help="folder in which npm has installed benchmarks/peers/package.json")
    parser.add_argument("--clips", action="store_true", help="measure clips, too; only ours take them")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    others = {"before": ours_before, "simple": lambda: simple(options.peers), "human": lambda: human(options.human)}
    report = {"machine": machine(), "runs": {}}
    print(json.dumps(report["machine"]))
    with ExitStack() as stack:
        # One more than the largest number of connections: nothing is refused.
        services = [stack.enter_context(ours(max_inflight="128"))]
        for name in filter(None, options.others.split(",")):
            try:
                services.append(stack.enter_context(others[name]()))
            except SkippedError as error:
                print(f"without {name}: {error}")
        for connections in map(int, options.connections.split(",")):
            works = [(f"{size} megapixels", photo(float(size)), "image/jpeg") for size in options.megapixels.split(",")]
            asked = {name: services for name, _, _ in works}
            if options.clips:
                works.append(("clips", short_clip(), "video/mp4"))
                asked["clips"] = [service for service in services if service.clips]
            for name, content, kind in works:
                result = measured(asked[name], content, connections, options.seconds, options.rounds, kind)
                report["runs"][f"{name}, {connections} at once"] = result
                print("\n" + table(f"{name}, {connections} at once", result), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
