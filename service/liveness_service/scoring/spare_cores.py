"""When an encoder may begin a run beside another one: where a core would otherwise have nothing to do."""

from collections.abc import Callable

MOST_RUNS = 4
"""Runs at once, however many cores there are: each takes some 20 MB of its own for what layers hand on."""


class SpareCores:
    """Counts the cores that are at work, for all engines that answer requests. It is used in one event loop only.

    A core that finds faces is worth more than a second run: without it the next batch is smaller. So a second run
    begins only where neither uploads nor runs need its core.
    """

    def __init__(self, cores: int, threads: int, workers_busy: Callable[[], int]) -> None:
        """Begin with no run.

        Args:
            cores: how many this process may use.
            threads: how many a run takes.
            workers_busy: how many worker processes have an upload, or get ready for one.
        """
        self._cores = cores
        self._threads = threads
        self._workers_busy = workers_busy
        self._runs = 0

    def begin(self) -> None:
        """Count a run that begins."""
        self._runs += 1

    def end(self) -> None:
        """Count a run that has ended."""
        self._runs -= 1

    @property
    def has_room(self) -> bool:
        """Whether one more run has cores of its own."""
        return self._runs < MOST_RUNS and (self._runs + 1) * self._threads + self._workers_busy() <= self._cores
