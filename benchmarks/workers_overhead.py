"""Measure what worker processes cost, or gain: throughput, latency and memory as ratios of workers to threads.

    python benchmarks/workers_overhead.py [--connections 16] [--seconds 5] [--rounds 5] [--requests 100]

Two real `liveness serve` processes: one reads uploads in worker processes, as by default, the other in threads
(`LIVENESS_WORKERS=0`). Rounds go to the two in turn, because the speed of shared machines drifts; the ratios are
medians over pairs of neighbouring rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from service_overhead import in_turns, once_ms, ratio_of_pairs, service_request, throughput

from liveness_service.cores import available_cores
from support.server import running_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, {options.connections} connections")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:  # noqa: SIM117 (they need these)
        with running_server(Path(one), workers="0") as threads, running_server(Path(other)) as workers:
            servers = {"threads": threads, "workers": workers}
            clients = {
                name: [service_request(server) for _ in range(options.connections)] for name, server in servers.items()
            }
            for name in servers:
                throughput(clients[name], 2)  # warm-up
            names = list(servers)
            rates = in_turns(names, options.rounds, lambda name: throughput(clients[name], options.seconds))
            print("rounds:", {name: [round(rate, 1) for rate in found] for name, found in rates.items()})
            taken = in_turns(names, options.requests, lambda name: once_ms(clients[name][0]))
            memory = {name: server.memory_mb("Pss") for name, server in servers.items()}
            threads.stop()
            workers.stop()
    rate = {name: statistics.median(found) for name, found in rates.items()}
    latency = {name: statistics.median(times) for name, times in taken.items()}
    print(f"photos a second: {rate['threads']:.1f} in threads, {rate['workers']:.1f} in workers")
    print(f"latency alone: {latency['threads']:.1f} ms in threads, {latency['workers']:.1f} ms in workers")
    print(f"memory: {memory['threads']:.0f} MB in threads, {memory['workers']:.0f} MB in workers")
    print(f"throughput, workers / threads: {ratio_of_pairs(rates, 'workers', 'threads'):.3f}")
    print(f"latency alone, workers / threads: {latency['workers'] / latency['threads']:.3f}")


if __name__ == "__main__":
    main()
