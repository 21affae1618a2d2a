"""The checks for every guarded request: the policy says who calls and what they may do, the rate limit how often."""

from typing import Self

import structlog

from liveness_service.access.policy import AccessError, AccessPolicy, Caller, Mode
from liveness_service.access.rate import RateLimiter, network_of
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)


class Gate:
    """The access policy and the rate limit of one service."""

    def __init__(self, policy: AccessPolicy, limiter: RateLimiter | None) -> None:
        self.policy = policy
        self._limiter = limiter

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Self:
        """Make the gate that the settings describe.

        Raises:
            AccessError: the service cannot start safely with these settings.
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
        """Log which callers the service answers."""
        mode = self.policy.mode
        say = log.warning if mode is Mode.OPEN_BY_SETTING else log.info
        say("access", mode=mode.value, keys=self.policy.keys.names, rate_limit=settings.rate_limit)
        if mode is Mode.KEYS and settings.allow_anonymous:
            log.warning("allow_anonymous_has_no_effect", note="there are access keys, so every caller needs one")

    def limited_as(self, caller: Caller, address: str) -> str:
        """Whom limits count: the key's name or, where there are no keys, the client's address."""
        return caller.name if self.policy.mode is Mode.KEYS else network_of(address)

    async def count(self, limited_as: str) -> None:
        """Count one request of a caller; `limited_as` says of whom.

        Raises:
            RateLimitedError: the caller has reached the rate limit.
        """
        if self._limiter is not None:
            await self._limiter.take(limited_as)

    async def close(self) -> None:
        """Close the connection to the store that counts requests."""
        if self._limiter is not None:
            await self._limiter.close()
