"""What tracing costs: requests a second at saturation and latency of a lone request, on / off, as ratios.

    python benchmarks/tracing_overhead.py [--seconds 5] [--rounds 3]

Two real `liveness serve` processes, one with tracing off and one that samples everything and sends it to a collector in
this process, which decodes nothing. They take turns in one run, the order changing from round to round, since these
machines' speed drifts; what counts is the ratio of each pair. The client and the collector share the machine's cores
with the service, so that the ratio is an upper limit.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from service_overhead import CONNECTIONS, latency_ms, service_request, throughput

from liveness_service.settings import available_cores
from support.collector import collecting
from support.server import running_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, {CONNECTIONS} connections")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, collecting() as collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        collector.decode = False
        with running_server(Path(one)) as off, running_server(Path(other), tracing="true") as on:
            servers = {"off": off, "on": on}
            clients = {name: [service_request(server) for _ in range(CONNECTIONS)] for name, server in servers.items()}
            rates, alone = [], []
            for name in clients:
                throughput(clients[name], 1)  # warm-up
            for number in range(options.rounds):
                order = list(clients)[:: 1 if number % 2 == 0 else -1]
                rates.append({name: throughput(clients[name], options.seconds) for name in order})
                alone.append({name: latency_ms(clients[name][0], options.seconds) for name in order})
                print(
                    f"round {number + 1}: saturated {rates[-1]['off']:.1f} off, {rates[-1]['on']:.1f} on a second; "
                    f"alone {alone[-1]['off']:.2f} ms off, {alone[-1]['on']:.2f} ms on"
                )
            off.stop()
            on.stop()
        print(f"{collector.posts} posts of spans")
    print(f"throughput, on / off: {statistics.median(each['on'] / each['off'] for each in rates):.3f}")
    print(f"latency alone, on / off: {statistics.median(each['on'] / each['off'] for each in alone):.3f}")


if __name__ == "__main__":
    main()
