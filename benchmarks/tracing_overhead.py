"""Measure what tracing costs: processor time, latency and throughput as ratios of tracing on to off.

    python benchmarks/tracing_overhead.py [--requests 200] [--seconds 5] [--rounds 3]

Two real `liveness serve` processes, one with tracing off and one that samples everything and sends it to a collector in
this process, which decodes nothing. Lone requests go to the two processes in turn, and so do the rounds at saturation,
because the speed of shared machines drifts. Processor time, exporting included, is the figure that other work on the
machine disturbs least. Printed first: what a request pays for ids and unrecorded stages while tracing is off.
"""

import argparse
import os
import statistics
import sys
import tempfile
import timeit
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from service_overhead import CONNECTIONS, in_turns, once_ms, ratio_of_pairs, service_request, throughput

from liveness_service.cores import available_cores
from liveness_service.observability.stages import record, stage
from liveness_service.observability.tracing import Tracing
from support.collector import collecting
from support.server import Server, running_server

STAGES = 7
SCOPE = {"headers": [(f"header-{number}".encode(), b"value") for number in range(10)]}


def cost_when_off_us() -> float:
    """Microseconds that a request pays while tracing is off."""
    tracing = Tracing()

    def request() -> None:
        with tracing.request(SCOPE, "benchmark") as trace:
            for _ in range(STAGES - 2):
                with stage("stage"):
                    pass
            record("queue", 0, 0.0)
            record("infer", 0, 0.0)
            trace.answered("/v1/liveness", 200, {})

    return min(timeit.repeat(request, number=2000, repeat=10)) / 2000 * 1e6


def processor_s(server: Server) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, {CONNECTIONS} connections")
    print(f"tracing off: {cost_when_off_us():.1f} microseconds a request")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, collecting() as collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        collector.decode = False
        with running_server(Path(one)) as off, running_server(Path(other), tracing="true") as on:
            servers = {"off": off, "on": on}
            clients = {name: [service_request(server) for _ in range(CONNECTIONS)] for name, server in servers.items()}
            for name in servers:
                throughput(clients[name], 1)  # warm-up
            names = list(servers)
            rates = in_turns(names, options.rounds, lambda name: throughput(clients[name], options.seconds))
            before = {name: processor_s(server) for name, server in servers.items()}
            taken = in_turns(names, options.requests, lambda name: once_ms(clients[name][0]))
            used = {name: 1000 * (processor_s(servers[name]) - before[name]) / options.requests for name in servers}
            off.stop()
            on.stop()
    latency = {name: statistics.median(times) for name, times in taken.items()}
    print(f"processor time a request: {used['off']:.2f} ms off, {used['on']:.2f} ms on")
    print(f"latency alone: {latency['off']:.2f} ms off, {latency['on']:.2f} ms on")
    print(f"processor time, on / off: {used['on'] / used['off']:.3f}")
    print(f"latency alone, on / off: {latency['on'] / latency['off']:.3f}")
    print(f"throughput, on / off: {ratio_of_pairs(rates, 'on', 'off'):.3f}")


if __name__ == "__main__":
    main()
