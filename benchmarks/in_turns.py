"""Processor time of a photo, by where it is spent, in turns with the service of another commit's work tree.

    git worktree add --detach TREE COMMIT && python benchmarks/in_turns.py TREE [--rounds 8] [--seconds 4]
        [--connections 8]

Both services run all the time and are asked in turns, eight requests at once, so a busy machine disturbs both alike.
Printed are medians over the rounds in milliseconds, and the medians of the ratios of neighbouring rounds: of all
processes, of the event loop, of the other threads of that process, which are the encoder's, and of the workers; then
requests a second and latencies.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import Service, closed_loop, ours, photo

PARTS = ("total", "event loop", "encoder", "workers", "requests/s", "p50", "p95")


def spent_ms(service: Service) -> dict[tuple[int, str], float]:
    """Processor time of each thread so far, by process and thread."""
    return {
        (pid, task.name): int((task / "schedstat").read_text().split()[0]) / 1e6
        for pid in service.processes()
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def round_of(service: Service, content: bytes, connections: int, seconds: float) -> tuple[float, ...]:
    """Figures for each of `PARTS`, processor times of one photo."""
    before = spent_ms(service)
    answered = closed_loop(service, content, connections, seconds)
    count = max(answered["rate"] * seconds, 1)
    spent = {key: (value - before.get(key, 0.0)) / count for key, value in spent_ms(service).items()}
    loop = (service.pid, str(service.pid))
    encoder = sum(value for key, value in spent.items() if key[0] == service.pid and key != loop)
    workers = sum(value for key, value in spent.items() if key[0] != service.pid)
    return sum(spent.values()), spent[loop], encoder, workers, answered["rate"], answered["p50"], answered["p95"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--megapixels", type=float, default=0.3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    content = photo(options.megapixels)
    with ours("before", options.tree, max_inflight="128") as before, ours("now", max_inflight="128") as now:
        found: dict[str, list[tuple[float, ...]]] = {"before": [], "now": []}
        for service in (before, now):
            closed_loop(service, content, options.connections, options.seconds)  # warm-up
        for number in range(options.rounds):
            for service in (before, now) if number % 2 else (now, before):
                found[service.name].append(round_of(service, content, options.connections, options.seconds))
    print("| ms, requests/s | before | now | now / before |\n| --- | --- | --- | --- |")
    for part, name in enumerate(PARTS):
        pairs = [(old[part], new[part]) for old, new in zip(found["before"], found["now"], strict=True)]
        middle = [statistics.median(values) for values in zip(*pairs, strict=True)]
        ratio = statistics.median(new / old for old, new in pairs)
        print(f"| {name} | {middle[0]:.1f} | {middle[1]:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
