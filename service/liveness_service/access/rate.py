"""Limits how many requests each caller may send.

The window is fixed: there is one counter for each caller, and the store lets it expire. So replicas need not agree on
the time (a moving window would depend on their clocks), the memory does not grow with the limit, and the time to wait
is known exactly. The price: around the end of a window, up to twice the limit can come at once. No counter depends on
the clock of the day: Redis lets its own expire, and this process counts on a clock that nobody can set.

While the store cannot be reached, each process counts for itself. The limit only protects other callers from a greedy
one. Access keys and the bound on the work in progress (LIVENESS_MAX_INFLIGHT) do not depend on it. If a failing store
refused everybody, it would be one more thing that can stop all verdicts.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog
from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import ConfigurationError, StorageError

from liveness_service.errors import RateLimitedError
from liveness_service.rates import MEMORY, check_store, parse_rate

log = structlog.get_logger(__name__)

_STORE_TIMEOUT_S = 0.5
"""Longest wait for a connection to the store, and for each of its answers."""
_STORE_PAUSE_S = 5.0
"""How long a store that failed is not asked again, so that not every request waits for it."""


@dataclass(slots=True)
class _Window:
    end: float
    taken: int = 0


class FixedWindows:
    """Counts in this process: one window for each caller. It begins with a request, and what has ended is forgotten.

    Time is monotonic: a clock of the day that is set back would hold a window open until the old time comes again.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no windows.

        Args:
            limit: most requests of one caller in a window.
            seconds: length of every window.
            clock: the current time in seconds; it must never go back.
        """
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def __len__(self) -> int:
        """How many windows are kept in memory."""
        return len(self._windows)

    def take(self, who: str) -> float | None:
        """Count one request; None if it is within the limit, else the seconds until the caller's window ends."""
        now = self._clock()
        self._forget(now)
        window = self._windows.setdefault(who, _Window(now + self._seconds))
        if window.taken >= self._limit:
            return window.end - now
        window.taken += 1
        return None

    def _forget(self, now: float) -> None:
        """Drop the windows that have ended. All are equally long, so the one that began first ends first."""
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest].end > now:
                return
            del self._windows[oldest]


class RateLimiter:
    """Counts the requests of each caller in a window. Its methods need a running event loop; making it does not."""

    def __init__(self, rate: str, store: str, on_store_failure: Callable[[], None]) -> None:
        """Prepare the counters; nothing connects to the store yet.

        Args:
            rate: number of requests and window, e.g. `100/minute`.
            store: URL of the store that counts requests.
            on_store_failure: called each time that the store does not answer.

        Raises:
            ValueError: the rate or the store is not valid, or the store's client is not installed.
        """
        self._item = parse_rate(rate)
        self._on_store_failure = on_store_failure
        self._own = FixedWindows(self._item.amount, self._item.get_expiry())
        self._shared = None if check_store(store) == MEMORY else FixedWindowRateLimiter(_redis(store))
        self._store_fails = False
        self._ask_again_at = 0.0

    async def take(self, who: str) -> None:
        """Count one request of a caller.

        Args:
            who: name of the key, or address of the client.

        Raises:
            RateLimitedError: the caller has reached the limit; the error says how many seconds to wait.
        """
        if self._shared is not None and time.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(2 * _STORE_TIMEOUT_S):
                    wait_s = await self._take_shared(self._shared, who)
            except (StorageError, TimeoutError) as error:
                self._failed(error)
            else:
                self._answered()
                self._refuse(who, wait_s)
                return
        self._refuse(who, self._own.take(who))

    async def close(self) -> None:
        """Close the connections to the store."""
        storage = None if self._shared is None else self._shared.storage
        if isinstance(storage, RedisStorage) and isinstance(storage.bridge, RedispyBridge):
            connection: Any = storage.bridge.get_connection()  # the declared type lacks some of its methods
            await connection.aclose()

    async def _take_shared(self, counter: FixedWindowRateLimiter, who: str) -> float | None:
        """Count one request in the shared store; None if it is within the limit, else the seconds left to wait."""
        if await counter.hit(self._item, who):
            return None
        reset, _ = await counter.get_window_stats(self._item, who)
        # `reset` is the seconds left by the store plus this machine's time of the day, which is taken off again.
        return min(reset - time.time(), self._item.get_expiry())

    def _refuse(self, who: str, wait_s: float | None) -> None:
        if wait_s is None:
            return
        seconds = max(1, math.ceil(wait_s))
        raise RateLimitedError(
            f"more than {self._item} for {who}: wait {seconds} s (LIVENESS_RATE_LIMIT is the limit)", seconds
        )

    def _failed(self, error: Exception) -> None:
        self._ask_again_at = time.monotonic() + _STORE_PAUSE_S
        self._on_store_failure()
        if not self._store_fails:
            self._store_fails = True
            log.error(
                "rate_limit_store_failed",
                reason=str(error) or type(error).__name__,
                note="each process counts for itself until the store answers again",
            )

    def _answered(self) -> None:
        if self._store_fails:
            self._store_fails = False
            log.info("rate_limit_store_answers_again")


def network_of(address: str) -> str:
    """The network that counts as one client: an IPv4 address itself, but the whole /64 network of an IPv6 address.

    One IPv6 client usually has all 2^64 addresses of its /64 network.
    """
    if ":" not in address:
        return address
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((int(ip), 64), strict=False))


def _redis(url: str) -> Storage:
    try:
        return RedisStorage(
            url,
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="liveness",
            socket_timeout=_STORE_TIMEOUT_S,
            socket_connect_timeout=_STORE_TIMEOUT_S,
        )
    except ConfigurationError as error:
        raise ValueError("the Redis client is not installed: pip install 'face-liveness[redis]'") from error
    except ValueError as error:  # its message may hold a part of a password, so it is not quoted
        raise ValueError("not an address: redis://host:port, or redis://:password@host:port") from error
