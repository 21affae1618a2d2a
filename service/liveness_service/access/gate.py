"""What every guarded request passes: who asks, and not too often. `policy.admit` says whether they may."""

from typing import Self

import structlog

from liveness_service.access.policy import AccessError, AccessPolicy, Caller, Mode
from liveness_service.access.rate import RateLimiter, network_of
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


class Gate:
    """Of one service."""

    def __init__(self, policy: AccessPolicy, limiter: RateLimiter | None) -> None:
        self._policy = policy
        self._limiter = limiter

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Self:
        """From the settings.

        Raises:
            AccessError: they leave no safe way to start.
        """
        limiter = None
        if settings.rate_limit is not None:
            try:
                limiter = RateLimiter(
                    settings.rate_limit, settings.rate_limit_store, metrics.rate_limit_store_failures.inc
                )
            except ValueError as error:
                raise AccessError(f"LIVENESS_RATE_LIMIT_STORE: {error}") from error
        return cls(AccessPolicy.of(settings), limiter)

    def announce(self, settings: Settings) -> None:
        """Say in the log who is answered."""
        mode = self._policy.mode
        say = log.warning if mode is Mode.OPEN_BY_SETTING else log.info
        say("access", mode=mode.value, keys=self._policy.keys.names, rate_limit=settings.rate_limit)
        if mode is Mode.KEYS and settings.allow_anonymous:
            log.warning("allow_anonymous_has_no_effect", note="there are keys, so one is asked for")

    def identify(self, presented: str | None, server: str | None) -> Caller:
        """Who asks; see `AccessPolicy.identify`."""
        return self._policy.identify(presented, server)

    async def count(self, caller: Caller, address: str) -> None:
        """Count a request of the key, or of the client's address without keys.

        Raises:
            RateLimitedError: it is one too many.
        """
        if self._limiter is not None:
            await self._limiter.take(caller.name if self._policy.mode is Mode.KEYS else network_of(address))

    async def close(self) -> None:
        """Close what was opened."""
        if self._limiter is not None:
            await self._limiter.close()
