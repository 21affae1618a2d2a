"""How often each caller may ask.

A fixed window: one counter a caller, which the store itself lets expire, so that replicas need not agree on the time
(a moving window is kept by the clients' clocks), it takes the same memory whatever the limit, and when to come back is
known exactly. Its price: around the end of a window up to twice the limit can come at once.

When the store cannot be reached, each process counts for itself until it can again. The limit protects others from a
greedy client and is no lock: keys are checked and the work is bounded (LIVENESS_MAX_INFLIGHT) with or without it, and
refusing everybody would make the store a second thing that stops all verdicts.
"""

import asyncio
import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import ConfigurationError, StorageError

from liveness_service.errors import RateLimitedError
from liveness_service.rates import MEMORY, check_store, parse_rate

log = structlog.get_logger(__name__)

_STORE_TIMEOUT_S = 0.5
_STORE_PAUSE_S = 5.0
"""How long a store that failed is left alone: not every request shall wait for it."""


class RateLimiter:
    """Counts requests of each caller in a window; needs a running event loop for all but its making."""

    def __init__(self, rate: str, store: str, on_store_failure: Callable[[], None]) -> None:
        """`on_store_failure` is called each time that the store did not answer.

        Raises:
            ValueError: the rate or the store is none, or the client of the store is not installed.
        """
        self._item = parse_rate(rate)
        self._on_store_failure = on_store_failure
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if check_store(store) == MEMORY else FixedWindowRateLimiter(_redis(store))
        self._store_fails = False
        self._ask_again_at = 0.0

    async def take(self, who: str) -> None:
        """Count one request.

        Args:
            who: name of the key, or address of the client.

        Raises:
            RateLimitedError: it is one too many; it says when to come back.
        """
        if self._shared is not None and time.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(2 * _STORE_TIMEOUT_S):
                    await self._take(self._shared, who)
            except (StorageError, TimeoutError) as error:
                self._failed(error)
            else:
                self._answered()
                return
        await self._take(self._own, who)

    async def close(self) -> None:
        """Close the connections to the store."""
        storage = None if self._shared is None else self._shared.storage
        if isinstance(storage, RedisStorage) and isinstance(storage.bridge, RedispyBridge):
            connection: Any = storage.bridge.get_connection()  # whose declared type has not all its methods
            await connection.aclose()

    async def _take(self, counter: FixedWindowRateLimiter, who: str) -> None:
        if await counter.hit(self._item, who):
            return
        reset, _ = await counter.get_window_stats(self._item, who)
        seconds = max(1, math.ceil(reset - time.time()))
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
    """Whom an address belongs to: itself, or of IPv6 the /64 network, of which one client has all 2^64 addresses."""
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
    except ValueError as error:  # whose message may hold a part of a password
        raise ValueError("not an address: redis://host:port, or redis://:password@host:port") from error
