"""Send photos at a fixed rate, whether or not the answers keep up, and say how the answers of each status took.

    python benchmarks/arrivals.py HOST:PORT --rate 150 --seconds 20 --body photo.jpg [--most 400]

wrk has no fixed rate, and httpx (`load.py`) takes two milliseconds a request from the cores that it shares with the
service; this one, on asyncio's streams, a fifth of that. It prints a JSON line: by status the number of answers and
their latencies in milliseconds from when the request was due, how many 503 had no Retry-After, and each answer's
instant with its latency.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from pathlib import Path

PATH = "/v1/liveness"


class Sender:
    def __init__(self, address: str, body: bytes, most: int) -> None:
        self._host, port = address.rsplit(":", 1)
        self._port = int(port)
        self._head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {address}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        self._body = body
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._places = asyncio.Semaphore(most)
        self.took: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.without_retry_after = 0
        self.behind_s = 0.0

    async def one(self, due: float, began: float) -> None:
        async with self._places:
            self.behind_s = max(self.behind_s, time.perf_counter() - due)
            try:
                status = await self._ask()
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                status = type(error).__name__
            now = time.perf_counter()
            self.took[status].append((round(now - began, 3), round(1000 * (now - due), 1)))

    async def _ask(self) -> str:
        connection = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
        reader, writer = connection
        try:
            writer.write(self._head)
            writer.write(self._body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        status = head.split(" ", 2)[1]
        self.without_retry_after += status == "503" and "\r\nretry-after:" not in head
        if "\r\nconnection: close" in head:
            writer.close()
        else:
            self._free.append(connection)
        return status


async def send(address: str, body: bytes, rate: float, seconds: float, most: int) -> dict:
    sender = Sender(address, body, most)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(sender.one(due, began))
    return {
        "latency_ms": {status: percentiles([ms for _, ms in took]) for status, took in sender.took.items()},
        "without_retry_after": sender.without_retry_after,
        "behind_ms": round(1000 * sender.behind_s, 1),
        "answers": sender.took,
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Number, median, 95th and 99th percentile, and the largest."""
    ordered = sorted(values)
    at = {
        f"p{round(100 * share)}": ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        for share in (0.5, 0.95, 0.99)
    }
    return {"count": len(ordered), **at, "most": ordered[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--most", type=int, default=400, help="most requests without an answer")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(send(given.address, given.body.read_bytes(), given.rate, given.seconds, given.most))))


if __name__ == "__main__":
    main()
