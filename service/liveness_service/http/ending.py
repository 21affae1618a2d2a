"""How a connection ends: in good order, so that its client has its answer, or at once; and how a request is refused."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liveness_service.errors import ServiceError
from liveness_service.http.guard import Guard
from liveness_service.http.refusal import written

log = structlog.get_logger(__name__)

LINGER_S = 5.0
"""How long a client may go on sending after the answer that closes its connection, in seconds."""
LINGER_BYTES = 64 << 20
"""Most bytes that are read, and thrown away, from such a client: some clients read only after they have sent all."""
_KERNEL_BUFFER_BYTES = 64 << 10
"""How much of unread answers the kernel keeps for a connection. By itself it would keep up to 4 MB."""


class Line(asyncio.Transport):
    """The transport as uvicorn sees it: whoever closes it, the connection ends in the same orderly way.

    It passes everything on to the real transport, except `close`.

    Closing a connection while its client still sends makes the kernel reset it, and the client may lose the answer that
    is already on its way. So the owner is asked how to close.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close
        self._closing = False
        self._held: list[Any] | None = None

    def write(self, data: Any) -> None:
        """Send, unless the connection is about to be closed."""
        if self._held is not None:
            self._held.append(data)
        elif not self._closing:
            self._transport.write(data)

    def hold(self) -> None:
        """Keep what is written from now on until `release`."""
        self._held = []

    def release(self) -> None:
        """Send what was kept, in one piece."""
        held, self._held = self._held, None
        if held:
            self.write(b"".join(held))

    def close(self) -> None:
        """Close in good order; a second call changes nothing."""
        self.release()
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


class OrderlyProtocol(HttpToolsProtocol, ABC):
    """A connection that ends in good order."""

    guard: ClassVar[Guard]

    @classmethod
    def with_guard(cls, guard: Guard) -> type[Self]:
        """The protocol for connections that this guard watches."""
        return type(cls.__name__, (cls,), {"guard": guard})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._line: asyncio.Transport
        self._shown: Line
        self._deaf = False  # what comes is thrown away
        self._discarded = 0  # bytes that came too late to matter
        self._closed_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let uvicorn see the transport through a `Line`."""
        self._line = cast(asyncio.Transport, transport)  # uvloop's is one too, but of no common class
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
        self._shown = Line(self._line, self._close)
        super().connection_made(self._shown)

    @property
    def address(self) -> str:
        """The other end's address; empty for a Unix socket."""
        return self.client[0] if self.client else ""

    def drop(self) -> None:
        """Close the connection at once."""
        self._line.abort()

    @property
    @abstractmethod
    def _at_rest(self) -> bool:
        """Whether nothing of a request is on its way, as far as is known."""

    def _throw_away(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._cut("sent_on")

    def _cut(self, reason: str) -> None:
        self.guard.metrics.connections_closed.labels(reason).inc()
        log.info("connection_cut", reason=reason, client=self.address)
        self._line.abort()

    def _write_refusal(self, error: ServiceError) -> None:
        self.guard.metrics.rejected.labels(error.code).inc()
        request_id, answer = written(error)
        log.info("request_refused", request_id=request_id, code=error.code, client=self.address)
        self._line.write(answer)

    def _close(self) -> None:
        """Close in good order: whoever still sends is given a while to read the answer first."""
        if self._closed_at is not None:
            return
        self._closed_at = self.loop.time()
        if self._at_rest and not self._deaf:
            self._line.close()
            return
        self._deaf = True
        self.connections.discard(self)  # a stop need not wait for it
        self.flow.resume_reading()
        self._line.write_eof()
