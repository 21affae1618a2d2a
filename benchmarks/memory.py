"""Measure the service's memory under the largest load it accepts: many pictures at the pixel limit at once.

    python benchmarks/memory.py [--requests 48] [--connections 16]

Prints the memory of the service and its workers after the first picture, the sum of their peaks, and what they hold
afterwards. Linux only (/proc).
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from service_overhead import astronaut, encoded, running_server

from liveness_service.cores import available_cores


def largest_accepted() -> bytes:
    """A JPEG of 50 megapixels with a face in it."""
    picture = np.zeros((5_000, 10_000, 3), np.uint8)
    picture[2_000:4_048, 4_000:6_048] = np.kron(astronaut(), np.ones((4, 4, 1), np.uint8))
    return encoded(picture, quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    content = largest_accepted()

    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), deadline_ms="600000") as server:

        def post(_number: int) -> int:
            with server.client() as client:
                return client.post("/v1/liveness", content=content, timeout=600).status_code

        post(0)
        before = server.memory_mb("VmRSS")
        with ThreadPoolExecutor(options.connections) as pool:
            statuses = list(pool.map(post, range(options.requests)))
        print(f"{available_cores()} workers, {options.requests} pictures of 50 megapixels, ", end="")
        print(f"{options.connections} at once, statuses {sorted(set(statuses))}")
        print(f"after the first: {before:.0f} MB")
        print(f"peak: {server.memory_mb('VmHWM'):.0f} MB")
        print(f"afterwards: {server.memory_mb('VmRSS'):.0f} MB")


if __name__ == "__main__":
    main()
