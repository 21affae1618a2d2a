"""A limit on what one caller may have in work at once, so that one caller cannot hold the slots of all others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from liveness_service.errors import TooManyAtOnceError


class CallerSlots:
    """Counts what each caller has in work. It keeps nothing about callers who have nothing in work."""

    def __init__(self, limit: int | None, noun: str, setting: str) -> None:
        """Start with nothing in work.

        Args:
            limit: most of one caller at once; None for no limit.
            noun: what is counted, for messages: `requests` or `clips`.
            setting: name of the setting for `limit`, for messages.
        """
        self._limit = limit
        self._noun = noun
        self._setting = setting
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many callers have something in work."""
        return len(self._taken)

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Count one more for this caller while the context is open.

        Raises:
            TooManyAtOnceError: the caller has as many in work as one caller may have.
        """
        if self._limit is not None and self._taken[caller] >= self._limit:
            raise TooManyAtOnceError(
                f"{self._limit} {self._noun} of {caller} are in work, and no more are accepted at once: wait for an "
                f"answer ({self._setting} is the limit)"
            )
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]
