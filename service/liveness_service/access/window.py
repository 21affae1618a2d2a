"""Counts the requests of each caller in fixed windows, in this process.

Time is monotonic: a clock of the day that is set back would hold a window open until the old time comes again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Window:
    end: float
    taken: int = 0


class FixedWindows:
    """One window for each caller. It begins with a request, and what has ended is forgotten."""

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
