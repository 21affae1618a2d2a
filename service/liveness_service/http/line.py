"""The transport as uvicorn sees it: whoever closes it, the connection ends in the same orderly way."""

import asyncio
from collections.abc import Callable
from typing import Any


class Line(asyncio.Transport):
    """Passes everything on to the real transport, except `close`.

    Closing a connection while its client still sends makes the kernel reset it, and the client may lose the answer that
    is already on its way. So the owner is asked how to close.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close
        self._closing = False

    def write(self, data: Any) -> None:
        """Send, unless the connection is about to be closed."""
        if not self._closing:
            self._transport.write(data)

    def close(self) -> None:
        """Close in good order; a second call changes nothing."""
        if not self._closing:
            self._closing = True
            self._close()

    def is_closing(self) -> bool:
        """Whether `close` was called, or the other end has closed."""
        return self._closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport.get_extra_info`."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more; not while the connection is closing, when what comes is thrown away."""
        if not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()
