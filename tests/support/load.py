"""Requests at a fixed rate, whether or not the answers keep up: as users send them."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from support.pictures import astronaut, encoded, no_face


@dataclass(slots=True)
class Outcome:
    """What a client saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    """Of the problems among them."""
    failures: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by the kind of error."""
    answers: list[dict[str, object]] = field(default_factory=list)
    """Of status 200, in the order of their arrival."""
    latencies_s: list[float] = field(default_factory=list)
    """Of the answers, from when the request was due: a client that falls behind shows here instead of hiding it."""
    behind_s: float = 0.0
    """How late the latest request was sent: much, and the client or its machine was the limit."""

    @property
    def sent(self) -> int:
        """All requests."""
        return self.statuses.total() + self.failures.total()

    def percentile_ms(self, share: float) -> float:
        """Latency that this share of the answers stayed below, ms; NaN without answers."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def summary(self) -> dict[str, Any]:
        """For JSON; no latencies without answers."""
        percentiles = {f"p{round(100 * share)}": round(self.percentile_ms(share), 1) for share in (0.5, 0.95, 0.99)}
        return {
            "sent": self.sent,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "codes": dict(self.codes),
            "failures": dict(self.failures),
            "latency_ms": percentiles if self.latencies_s else {},
            "behind_ms": round(1000 * self.behind_s, 1),
        }


async def send_at_rate(
    url: str,
    contents: Sequence[bytes],
    rate: float,
    seconds: float,
    *,
    path: str = "/v1/liveness",
    key: str = "",
) -> Outcome:
    """Send these bodies in turn, `rate` a second.

    Args:
        url: of the service.
        contents: bodies.
        rate: requests a second.
        seconds: how long.
        path: of the endpoint.
        key: access key.
    """
    outcome = Outcome()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=180, limits=limits, headers=headers) as client:

        async def one(number: int, due: float) -> None:
            outcome.behind_s = max(outcome.behind_s, time.perf_counter() - due)
            await _sent(client, path, contents[number % len(contents)], due, outcome)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(one(number, due))
    return outcome


async def send_in_turn(url: str, content: bytes, stop: asyncio.Event, *, senders: int, pause_s: float) -> Outcome:
    """Send a photo again and again until `stop`: a slow machine gets fewer, and no more than `senders` ever wait.

    Args:
        url: of the service.
        content: body.
        stop: ends it.
        senders: how many send, each on a connection of its own.
        pause_s: from an answer to the same sender's next request.
    """
    outcome = Outcome()
    async with httpx.AsyncClient(base_url=url, timeout=180) as client:

        async def sender() -> None:
            while not stop.is_set():
                await _sent(client, "/v1/liveness", content, time.perf_counter(), outcome)
                await asyncio.sleep(pause_s)

        await asyncio.gather(*(sender() for _ in range(senders)))
    return outcome


async def _sent(client: httpx.AsyncClient, path: str, content: bytes, due: float, outcome: Outcome) -> None:
    """Send one request and note what comes of it."""
    try:
        answer = await client.post(path, content=content)
    except httpx.HTTPError as error:
        outcome.failures[type(error).__name__] += 1
        return
    outcome.latencies_s.append(time.perf_counter() - due)
    outcome.statuses[answer.status_code] += 1
    if answer.status_code == httpx.codes.OK:
        outcome.answers.append(answer.json())
    elif answer.headers.get("content-type") == "application/problem+json":
        outcome.codes[answer.json()["code"]] += 1


@dataclass(frozen=True, slots=True)
class Differences:
    """How answers to requests that came together differ from those to the same requests alone."""

    requests: int
    kinds: int
    """How many different requests there were."""
    different: int
    first: str
    """The first difference; empty if there is none."""


async def differences(url: str, requests: int, *, together: int, seed: int = 0) -> Differences:
    """Send different requests one by one, then many at once in random order, and compare the answers.

    Args:
        url: of the service.
        requests: how many at once, in all.
        together: how many are unanswered at a time; fewer than the service has slots.
        seed: of the order.
    """
    kinds = mixed_requests()
    order = np.random.default_rng(seed).integers(0, len(kinds), requests).tolist()
    different: list[str] = []
    async with httpx.AsyncClient(base_url=url, timeout=180) as client:

        async def answer(kind: int) -> tuple[int, Any]:
            query, content = kinds[kind]
            given = await client.post(f"/v1/liveness{query}", content=content)
            return given.status_code, _lasting(given.json())

        alone = [await answer(kind) for kind in range(len(kinds))]
        waiting = iter(order)

        async def sender() -> None:
            for kind in waiting:
                got = await answer(kind)
                if got != alone[kind]:
                    different.append(f"{kinds[kind][0]}: {got} instead of {alone[kind]}")

        await asyncio.gather(*(sender() for _ in range(together)))
    return Differences(requests, len(kinds), len(different), different[0][:600] if different else "")


def mixed_requests() -> list[tuple[str, bytes]]:
    """Queries with bodies: photos of several sizes, kinds of file and faults, one with two faces, one with none."""
    person = astronaut()
    pictures = [person, no_face(), person[:, ::-1], person[20:400, 60:400], np.hstack([person, person[:, ::-1]])]
    pictures += [np.kron(person, np.ones((3, 3, 1), np.uint8)), person // 8, person[::4, ::4]]
    bodies = [encoded(np.ascontiguousarray(each), quality=95) for each in pictures]
    bodies += [encoded(person, "PNG"), encoded(person, "WEBP"), bodies[0][:5_000], b"no picture"]
    return [(query, body) for query in ("", "?faces=all", "?faces=largest&operating_point=eer") for body in bodies] + [
        ("?explain=true", bodies[0])
    ]


def _lasting(answer: Any) -> Any:
    """An answer without what belongs to the request alone."""
    return {name: value for name, value in answer.items() if name not in ("request_id", "timings_ms", "instance")}
