"""Sessions in Redis, for several replicas. Each step is a script, which Redis runs as a whole, by its own clock.

A session is a hash `liveness:session:ID`, which ends by itself. `liveness:sessions:CALLER` counts a caller's sessions:
a sorted set of ids by when they end. While Redis does not answer, sessions are refused (503): unlike a rate limit, a
token that works once must not work once on each replica. A script uses two keys, so Redis Cluster is not supported.
"""

from collections.abc import Awaitable
from typing import Any

import structlog

from liveness_service.errors import StoreUnavailableError
from liveness_service.observability.metrics import Metrics
from liveness_service.sessions.store import MOST_TRIES, Begun, Found, Refusal, SessionState, Times
from liveness_service.sessions.token import SessionKind

log = structlog.get_logger(__name__)

_TIMEOUT_S = 0.5
"""Longest wait for a connection to Redis, and for each of its answers."""
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(value) return string.format('%.0f', value) end
"""
_OPEN = """
local caller, kind, ttl, keep, most, longest = unpack(ARGV)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms(now))
if redis.call('ZCARD', KEYS[2]) >= tonumber(most) then return 0 end
redis.call('HSET', KEYS[1], 'caller', caller, 'kind', kind, 'state', 'waiting', 'until', ms(now + ttl), 'tries', 0)
redis.call('PEXPIRE', KEYS[1], ms(ttl + keep))
redis.call('ZADD', KEYS[2], ms(now + ttl + keep), KEYS[1])
redis.call('PEXPIRE', KEYS[2], ms(math.max(ttl + keep, redis.call('PTTL', KEYS[2]))))
return 1
"""
_BEGIN = """
local attempt, lease, keep, most = unpack(ARGV)
local state, till, tries, caller, leased =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'until', 'tries', 'caller', 'lease'))
if not state then return {'gone'} end
if state == 'scoring' and now < tonumber(leased) then return {'busy'} end
if state ~= 'waiting' then return {'used'} end
if now >= tonumber(till) then return {'expired'} end
if tonumber(tries) >= tonumber(most) then return {'used'} end
redis.call('HSET', KEYS[1], 'state', 'scoring', 'attempt', attempt, 'lease', ms(now + lease), 'tries', tries + 1)
redis.call('PEXPIRE', KEYS[1], ms(math.max(lease + keep, redis.call('PTTL', KEYS[1]))))
return {'begun', caller}
"""
_HELD = """
local state, held, leased, caller = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt', 'lease', 'caller'))
if state ~= 'scoring' or held ~= ARGV[1] or now >= tonumber(leased) then return 0 end
redis.call('HDEL', KEYS[1], 'attempt', 'lease')
"""
_RELEASE = f"""{_HELD}
redis.call('HSET', KEYS[1], 'state', 'waiting')
redis.call('HINCRBY', KEYS[1], 'tries', ARGV[2])
return 1
"""
_FINISH = f"""{_HELD}
if caller ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'answer', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], ms(now + ARGV[5]), KEYS[1])
return 1
"""
_READ = """
local caller, take = unpack(ARGV)
local state, till, opener, leased, kind, answer, read =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'until', 'caller', 'lease', 'kind', 'answer', 'read'))
if not state or opener ~= caller then return {'none'} end
if state == 'waiting' and now >= tonumber(till) then return {'expired', kind} end
if state == 'scoring' and now >= tonumber(leased) then return {'failed', kind} end
if take == '0' then return {state, kind, '', read or ''} end
if state == 'scored' then
  redis.call('HDEL', KEYS[1], 'answer')
  redis.call('HSET', KEYS[1], 'read', '1')
end
return {state, kind, answer or '', read or ''}
"""


class RedisStore:
    """Keeps sessions in Redis. Its methods need a running event loop; making it does not."""

    def __init__(self, url: str, most: int, times: Times, metrics: Metrics) -> None:
        """Prepare the scripts; nothing connects yet.

        Args:
            url: `redis://…` or `rediss://…`.
            most: most sessions of one caller.
            times: how long states last.
            metrics: count failures.

        Raises:
            ValueError: the URL is not valid, or Redis's client is not installed.
        """
        self._most = most
        self._times = times
        self._metrics = metrics
        self._client = _client(url)
        self._scripts = {
            name: self._client.register_script(_NOW + text)
            for name, text in {
                "open": _OPEN,
                "begin": _BEGIN,
                "release": _RELEASE,
                "finish": _FINISH,
                "read": _READ,
            }.items()
        }

    async def open(self, session_id: str, caller: str, kind: SessionKind, ttl_s: float) -> bool:
        """See `SessionStore`."""
        done = await self._run("open", session_id, caller, caller, kind, _ms(ttl_s), self._keep, self._most)
        return bool(done)

    async def begin(self, session_id: str, attempt: str) -> Begun | Refusal:
        """See `SessionStore`."""
        told, *more = await self._run(
            "begin", session_id, "", attempt, _ms(self._times.lease_s), self._keep, MOST_TRIES
        )
        return Begun(more[0].decode()) if told == b"begun" else Refusal(told.decode())

    async def release(self, session_id: str, attempt: str, *, counted: bool) -> None:
        """See `SessionStore`."""
        await self._run("release", session_id, "", attempt, 0 if counted else -1)

    async def finish(self, session_id: str, attempt: str, caller: str, state: SessionState, answer: bytes) -> bool:
        """See `SessionStore`."""
        return bool(await self._run("finish", session_id, caller, attempt, caller, state, answer, self._keep))

    async def read(self, session_id: str, caller: str, *, take: bool) -> Found | None:
        """See `SessionStore`."""
        told, *more = await self._run("read", session_id, "", caller, int(take))
        if told == b"none":
            return None
        kind, answer, was_read = (*more, b"", b"")[:3]
        return Found(SessionState(told.decode()), SessionKind(kind.decode()), answer or None, bool(was_read))

    async def is_new(self, digest: str, window_s: float) -> bool:
        """See `SessionStore`."""
        return bool(await self._asked(self._client.set(f"liveness:seen:{digest}", "1", nx=True, px=_ms(window_s))))

    async def forget(self, digest: str) -> None:
        """See `SessionStore`."""
        await self._asked(self._client.delete(f"liveness:seen:{digest}"))

    async def close(self) -> None:
        """See `SessionStore`."""
        await self._client.aclose()

    @property
    def _keep(self) -> int:
        return _ms(self._times.keep_s)

    async def _run(self, script: str, session_id: str, caller: str, *arguments: Any) -> Any:
        keys = [f"liveness:session:{session_id}", f"liveness:sessions:{caller}"]
        return await self._asked(self._scripts[script](keys=keys, args=list(arguments)))

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except Exception as error:
            # RedisError is known only where the client is installed; it is no fault of ours.
            if not isinstance(error, (OSError, TimeoutError)) and not type(error).__module__.startswith("redis"):
                raise
            self._metrics.session_store_failures.inc()
            log.error("session_store_failed", reason=type(error).__name__)  # a message may quote the address
            raise StoreUnavailableError(
                "the store of sessions does not answer, so no session is opened, used or read: try again, and check "
                "LIVENESS_SESSION_STORE"
            ) from error


def _client(url: str) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise ValueError("the Redis client is not installed: pip install 'face-liveness[redis]'") from error
    try:
        # Not tried again by the client: a step that was done, and whose answer was lost, would then be refused.
        once = Retry(NoBackoff(), 0)
        client = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=once)
    except ValueError as error:  # its message may hold a part of a password, so it is not quoted
        raise ValueError("not an address: redis://host:port, or redis://:password@host:port") from error
    return client


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
