"""Processor time of a photo, by where it is spent, in turns with the service of another commit's work tree.

    git worktree add --detach TREE COMMIT && python benchmarks/in_turns.py TREE [--rounds 8] [--seconds 4]

Both services run all the time and are asked in turns, eight requests at once, so a busy machine disturbs both alike.
Printed are medians over the rounds in milliseconds, and the medians of the ratios of neighbouring rounds: of all
processes, of the event loop, of the busiest other thread of that process, which is the encoder's, and of the workers.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import Service, closed_loop, ours, photo

PARTS = ("total", "event loop", "encoder", "workers")


def spent_ms(service: Service) -> dict[tuple[int, str], float]:
    """Processor time of each thread so far, by process and thread."""
    return {
        (pid, task.name): int((task / "schedstat").read_text().split()[0]) / 1e6
        for pid in service.processes()
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def round_of(service: Service, content: bytes, seconds: float) -> tuple[float, ...]:
    """Processor time of one photo in milliseconds, for each of `PARTS`."""
    before = spent_ms(service)
    count = max(closed_loop(service, content, 8, seconds)["rate"] * seconds, 1)
    spent = {key: (value - before.get(key, 0.0)) / count for key, value in spent_ms(service).items()}
    loop = (service.pid, str(service.pid))
    encoder = max(value for key, value in spent.items() if key[0] == service.pid and key != loop)
    workers = sum(value for key, value in spent.items() if key[0] != service.pid)
    return sum(spent.values()), spent[loop], encoder, workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--megapixels", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    content = photo(options.megapixels)
    with ours("before", options.tree, max_inflight="128") as before, ours("now", max_inflight="128") as now:
        found: dict[str, list[tuple[float, ...]]] = {"before": [], "now": []}
        for service in (before, now):
            closed_loop(service, content, 8, options.seconds)  # warm-up
        for number in range(options.rounds):
            for service in (before, now) if number % 2 else (now, before):
                found[service.name].append(round_of(service, content, options.seconds))
    print("| | before, ms | now, ms | now / before |\n| --- | --- | --- | --- |")
    for part, name in enumerate(PARTS):
        pairs = [(old[part], new[part]) for old, new in zip(found["before"], found["now"], strict=True)]
        middle = [statistics.median(values) for values in zip(*pairs, strict=True)]
        ratio = statistics.median(new / old for old, new in pairs)
        print(f"| {name} | {middle[0]:.1f} | {middle[1]:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
