"""What a file promises: the memory that its decoding takes, by its header, told before its pixels are decoded.

A worker that decodes for the service bounds its own memory by it, so that a decoder which takes more than its file can
need is stopped. Where nobody listens, as in the service's own threads, nothing happens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[int], None] | None] = ContextVar("listener", default=None)


class NotNowError(Exception):
    """Whoever listens does not let this file be decoded now."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(f"decoding it takes {memory_bytes:,} bytes of memory")
        self.memory_bytes = memory_bytes
        """What the file promised."""


@contextmanager
def told_to(listener: Callable[[int], None]) -> Iterator[None]:
    """Let a function know what each file promises; it may raise NotNowError, which ends the decoding."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def promise(memory_bytes: int) -> None:
    """Tell what the decoding that begins now takes at most, in bytes, the picture that comes out included.

    Raises:
        NotNowError: it must not begin now.
    """
    if (listener := _listener.get()) is not None:
        listener(memory_bytes)
