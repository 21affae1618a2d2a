"""Show that the service keeps its promises under load; each figure with its target.

    python benchmarks/under_load.py [mixed] [steady] [overload] [--requests 10000] [--seconds 60] [--out FILE]

mixed: many different requests at once, each answer equal to that of the same request alone. steady: requests at 80 %
of capacity; p99 at most five times p50. overload: requests at 300 %; accepted ones keep the deadline, others get 503
with Retry-After within 100 ms, memory stays flat, and two seconds afterwards everything is as before.

Requests are sent by another process (`arrivals.py`); it shares the cores with the service.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import Service, closed_loop, machine, ours, photo

from support.load import differences

DEADLINE_MS = 10_000
RECOVERY_S = 2.0


def capacity(service: Service, content: bytes, seconds: float) -> float:
    """Requests a second at 16 connections."""
    closed_loop(service, content, 16, 2)
    return closed_loop(service, content, 16, seconds)["rate"]


class Arrivals:
    """`arrivals.py`, running."""

    def __init__(self, service: Service, body: Path, rate: float, seconds: float) -> None:
        address = service.url.split("/")[2]
        script = Path(__file__).parent / "arrivals.py"
        command = [sys.executable, script, address, "--rate", f"{rate:.3f}", "--seconds", f"{seconds}", "--body", body]
        self._process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)

    def result(self) -> dict:
        return json.loads(self._process.communicate(timeout=600)[0])


def without_answers(result: dict) -> dict:
    return {name: value for name, value in result.items() if name != "answers"}


def mixed(service: Service, requests: int) -> dict:
    found = asyncio.run(differences(service.url.removesuffix("/v1/liveness"), requests, together=16))
    return {"requests": found.requests, "kinds": found.kinds, "different": found.different, "first": found.first}


def steady(service: Service, content: bytes, body: Path, seconds: float) -> dict:
    rate = 0.8 * capacity(service, content, 8)
    result = Arrivals(service, body, rate, seconds).result()
    accepted = result["latency_ms"].get("200", {"p50": 0, "p99": 0})
    ratio = accepted["p99"] / max(accepted["p50"], 0.1)
    return {"rate": round(rate, 1), "p99 / p50 (target 5)": round(ratio, 2), **without_answers(result)}


def overload(service: Service, content: bytes, body: Path, seconds: float) -> dict:
    full = capacity(service, content, 8)
    usual = Arrivals(service, body, 0.5 * full, 10).result()
    samples, ended = [service.memory_mb()], threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            samples.append(service.memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    flood = Arrivals(service, body, 3 * full, seconds).result()
    time.sleep(RECOVERY_S)
    after = Arrivals(service, body, 0.5 * full, 10).result()
    ended.set()
    watcher.join()
    refused = flood["latency_ms"].get("503", {"p99": 0.0, "most": 0.0})
    normal = usual["latency_ms"]["200"]
    half = samples[len(samples) // 3 :]
    return {
        "rate": round(3 * full, 1),
        "accepted, p99 ms (target 10000)": flood["latency_ms"].get("200", {}).get("p99"),
        "refused, p99 ms (target 100)": refused["p99"],
        "503 without Retry-After (target 0)": flood["without_retry_after"],
        "other statuses (target none)": sorted({*flood["latency_ms"]} - {"200", "503"}),
        "memory at the end / after a third": round(half[-1] / half[0], 3),
        "memory, MB": [round(samples[0]), round(max(samples)), round(samples[-1])],
        "afterwards / before, p50 and p99": [
            round(after["latency_ms"]["200"][name] / normal[name], 2) for name in ("p50", "p99")
        ],
        "afterwards, statuses": {status: each["count"] for status, each in after["latency_ms"].items()},
        "before": without_answers(usual),
        "flood": without_answers(flood),
        "after": without_answers(after),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["mixed", "steady", "overload"])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if unknown := set(options.parts) - {"mixed", "steady", "overload"}:
        parser.error(f"{sorted(unknown)[0]} is none of mixed, steady and overload")
    content = photo(0.3)
    report: dict = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "photo.jpg"
        body.write_bytes(content)
        for part in options.parts:
            # Where only equality counts, a busy machine must not end requests.
            with ours(deadline_ms="600000" if part == "mixed" else str(DEADLINE_MS)) as service:
                if part == "mixed":
                    report[part] = mixed(service, options.requests)
                elif part == "steady":
                    report[part] = steady(service, content, body, options.seconds)
                else:
                    report[part] = overload(service, content, body, options.seconds)
            print(json.dumps({part: report[part]}, indent=2), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
