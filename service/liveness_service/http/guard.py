"""What holds for all connections together: how many there may be, from whom, and the clock that ends waiting ones."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from liveness_service.access.rate import network_of
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings

_SLOW_BODY_S = 5.0
"""How much longer than the longest upload any body may take, so that the route's own answer (408) comes first."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of connections; times in seconds."""

    header_bytes: int
    """Most bytes of a request's target and header fields together; also of a chunk's extensions and of trailers."""
    header_s: float
    """How long a request's head may take, from its first byte; on a new connection, from the connection on."""
    body_s: float
    """How long any body may take. Routes for uploads have shorter limits of their own and answer 408."""
    idle_s: float
    """How long a connection may be idle between two requests."""
    answer_s: float
    """How long a client may take to read an answer."""
    pipelined: int
    """Most requests that may wait behind the one in work."""
    connections: int
    """Most connections at once."""
    connections_of_one: int
    """Most of them from one address."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the settings say."""
        return cls(
            header_bytes=settings.max_header_bytes,
            header_s=settings.header_timeout_ms / 1000,
            body_s=max(settings.upload_timeout_ms, settings.clip_upload_timeout_ms) / 1000 + _SLOW_BODY_S,
            idle_s=settings.keep_alive_ms / 1000,
            answer_s=settings.answer_timeout_ms / 1000,
            pipelined=settings.max_pipelined,
            connections=settings.max_connections,
            connections_of_one=settings.max_connections_per_address or max(1, settings.max_connections // 2),
        )


class Guarded(Protocol):
    """A connection, as the guard sees it."""

    @property
    def address(self) -> str:
        """The other end's address; empty for a Unix socket."""

    def waits_since(self) -> float | None:
        """Since when the connection has no request in work, on the loop's clock; None while it has one."""

    def expire(self, now: float) -> None:
        """End what has taken too long at this time of the loop's clock."""

    def drop(self) -> None:
        """Close the connection, which has no request in work."""


class Guard:
    """Counts open connections, makes room for new ones, and looks at each several times within the shortest limit."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics, is_proxy: Callable[[str], bool]) -> None:
        """Start with no connection.

        Args:
            limits: what is allowed.
            metrics: where connections are counted.
            is_proxy: whether an address is that of a trusted proxy. Its connections are those of many clients, so
                only the limit on all connections holds for them.
        """
        self.limits = limits
        self.metrics = metrics
        self.draining = False
        """Whether each answer closes its connection, since the service is about to stop."""
        self._is_proxy = is_proxy
        self._open: set[Guarded] = set()
        self._by_address: Counter[str] = Counter()
        shortest = min(limits.header_s, limits.idle_s, limits.answer_s, limits.body_s)
        self._period_s = min(0.5, shortest / 4)
        self._clock: asyncio.TimerHandle | None = None
        metrics.connections.set_function(lambda: len(self._open))

    def room_for(self, connection: Guarded) -> bool:
        """Count a new connection if there is room for it.

        Where there is none, the one that has waited longest without a request in work is closed in its favour: whoever
        opens connections and sends nothing can't keep others out.
        """
        address = network_of(connection.address)
        if not self._is_proxy(connection.address) and self._by_address[address] >= self.limits.connections_of_one:
            rivals = [each for each in self._open if network_of(each.address) == address]
            if not self._makes_room(rivals):
                return False
        if len(self._open) >= self.limits.connections and not self._makes_room(self._open):
            return False
        self._open.add(connection)
        self._by_address[address] += 1
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(self._period_s, self._look)
        return True

    def closed(self, connection: Guarded) -> None:
        """Forget a connection; one that was never counted changes nothing."""
        if connection in self._open:
            self._open.remove(connection)
            address = network_of(connection.address)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _makes_room(self, rivals: "set[Guarded] | list[Guarded]") -> bool:
        waiting = [(since, each) for each in rivals if (since := each.waits_since()) is not None]
        if not waiting:
            return False
        _, longest = min(waiting, key=lambda pair: pair[0])
        self.metrics.connections_closed.labels("no_room").inc()
        self.closed(longest)
        longest.drop()
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._open):
            connection.expire(now)
        self._clock = loop.call_later(self._period_s, self._look) if self._open else None
