"""One connection: uvicorn's protocol with limits on heads, bodies, pipelined requests, unread answers and time.

It overrides callbacks of uvicorn's `HttpToolsProtocol` and reads its attributes, which uvicorn does not promise to
keep; tests/e2e/test_connections.py shows whether all of it still works.
"""

import asyncio
from enum import Enum
from typing import Any

import httptools
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from liveness_service.errors import (
    HeaderTimeoutError,
    HeaderTooLargeError,
    MalformedRequestError,
    ServiceError,
    StoppingError,
    TooManyConnectionsError,
)
from liveness_service.http.ending import LINGER_S, OrderlyProtocol

_SHORT_REST_BYTES = 1 << 20
"""If no more than this of a body is to come when its request is answered, the connection stays open for others."""
_FIELD_OVERHEAD = 4
"""Bytes of `: ` and the line's end."""
_LINE_OVERHEAD = 1024
"""Bytes that a head, or the frame of a chunk, may have beside what is counted exactly."""


class _Incoming(Enum):
    """Which part of a request is to come next."""

    NOTHING = "nothing"
    """The last request is complete, and the next one has not begun."""
    HEAD = "head"
    """Its head, or the rest of it; also on a new connection."""
    BODY = "body"


class GuardedProtocol(OrderlyProtocol):
    """A connection with limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._behind = self.app
        self.app = self._answer
        self._incoming = _Incoming.HEAD
        self._since = self.loop.time()  # when `_incoming` became what it is, or when the last answer ended
        self._begun = False  # whether anything of the head has come
        self._silent_bytes = 0  # since the last head, piece of a body or end of a request
        self._moved = False
        self._head_bytes = 0
        self._body_left: int | None = 0  # None: the body comes in chunks
        self._refusal: ServiceError | None = None
        self._running: RequestResponseCycle | None = None
        self._unread: RequestResponseCycle | None = None  # the answer in the buffer, and since when
        self._unread_since = self._since

    # What the guard asks.

    def waits_since(self) -> float | None:
        """Since when there is no request in work; None while there is one."""
        return None if self._in_work or self._closed_at is not None else self._since

    def expire(self, now: float) -> None:
        """End what has taken too long at this time of the loop's clock."""
        limits = self.guard.limits
        waited = now - self._since
        if not self._line.get_write_buffer_size() or self._unread is not self._running:
            self._unread, self._unread_since = self._running, now
        if now - self._unread_since >= limits.answer_s:
            self._cut("unread_answer")
        elif self._closed_at is not None:
            if now - self._closed_at >= LINGER_S and not self._line.get_write_buffer_size():
                self._line.abort()
        elif self._incoming is _Incoming.HEAD and waited >= limits.header_s:
            self._head_is_late()
        elif self._incoming is _Incoming.BODY and not self._in_work and waited >= LINGER_S:
            self._cut("sent_on")
        elif self._incoming is _Incoming.BODY and waited >= limits.body_s:
            self._cut("slow_body")
        elif self._incoming is _Incoming.NOTHING and not self._in_work and waited >= limits.idle_s:
            self.transport.close()

    def drain(self) -> None:
        """Let the answer to the newest request be the connection's last."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    @property
    def _at_rest(self) -> bool:
        return self._incoming is _Incoming.NOTHING

    @property
    def _in_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_is_late(self) -> None:
        if not self._begun:
            self.guard.metrics.connections_closed.labels("no_request").inc()
            self.transport.close()
        else:
            self._refuse(
                HeaderTimeoutError(
                    f"the head of the request did not arrive within {self.guard.limits.header_s:g} s: check the "
                    "connection (LIVENESS_HEADER_TIMEOUT_MS is the limit)"
                )
            )

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if not self.guard.room_for(self):
            self.connections.discard(self)
            self._deaf = True
            self._write_refusal(
                TooManyConnectionsError(
                    "all connections that the service accepts have a request in work: try again, or add replicas "
                    "(LIVENESS_MAX_CONNECTIONS and LIVENESS_MAX_CONNECTIONS_PER_ADDRESS are the limits)"
                )
            )
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in work, and forget the connection."""
        self.guard.closed(self)
        self._closed_at = self._closed_at or self.loop.time()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the limits."""
        if self._deaf:
            self._throw_away(len(data))
            return
        self._unset_keepalive_if_required()
        if self._incoming is _Incoming.NOTHING:
            self._expect(_Incoming.HEAD)
        self._begun = True
        self._moved = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing else is spoken here. The request itself is answered; what follows it is none.
            self._hear_no_more()
        except httptools.HttpParserError:
            self._refuse(self._refusal or MalformedRequestError("this is not HTTP/1.1: check what the client sends"))
        else:
            if self._incoming is _Incoming.BODY and not self._in_work:
                self._throw_away(len(data))
            self._silent_bytes = 0 if self._moved else self._silent_bytes + len(data)
            if self._silent_bytes > self.guard.limits.header_bytes + _LINE_OVERHEAD:
                self._refuse(self._too_large())

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._incoming is not _Incoming.HEAD:  # within one read with the end of the last one
            self._expect(_Incoming.HEAD)

    def on_url(self, url: bytes) -> None:
        """A piece of the target came."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field came, or a trailer."""
        self._count_head(len(name) + len(value) + _FIELD_OVERHEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete, so the request can be worked on."""
        if len(self.pipeline) >= self.guard.limits.pipelined and self._in_work:
            self._refusal = MalformedRequestError("too many requests were sent ahead of their answers: wait for them")
            raise self._refusal
        super().on_headers_complete()
        self._moved = True
        self._discarded = 0
        self._expect(_Incoming.BODY)
        if self.guard.draining:
            self.cycle.keep_alive = False
        fields = dict(self.headers)
        declared = fields.get(b"content-length", b"0")
        self._body_left = None if b"transfer-encoding" in fields or not declared.isdigit() else int(declared)

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        self._moved = True
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._moved = True
        self._expect(_Incoming.NOTHING)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is complete, so the next request may begin, or the time of an idle connection."""
        if self._incoming is not _Incoming.HEAD:
            self._since = self.loop.time()
        super().on_response_complete()

    # How answers begin, and how connections end.

    async def _answer(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        cycle = receive.__self__  # type: ignore[attr-defined]  # uvicorn gives the methods of the request's cycle
        assert isinstance(cycle, RequestResponseCycle)
        self._running = cycle

        async def send_with_close(message: ASGISendEvent) -> None:
            begins = message["type"] == "http.response.start"
            if begins:
                if not self._stays_open(cycle):
                    cycle.keep_alive = False
                self._shown.hold()  # head and body are sent at once: each call wakes the client
            await send(message)
            if not begins:
                self._shown.release()

        try:
            await self._behind(scope, receive, send_with_close)
        except asyncio.CancelledError:  # the grace time of a stop is over
            if cycle.response_started or cycle.disconnected:
                raise
            cycle.disconnected = True  # for uvicorn, which would answer 500
            self._write_refusal(StoppingError("the service stops, and this request did not end in time: send it again"))
            self.transport.close()

    def _stays_open(self, cycle: RequestResponseCycle) -> bool:
        """Whether the connection is of use after this answer, which may come before the whole body is here."""
        if self.guard.draining and not self.pipeline:
            return False
        if cycle is not self.cycle or not cycle.more_body:
            return True
        short = self._body_left is not None and self._body_left <= _SHORT_REST_BYTES
        return short and not cycle.waiting_for_100_continue

    def _expect(self, incoming: _Incoming) -> None:
        self._incoming = incoming
        self._since = self.loop.time()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.guard.limits.header_bytes:
            self._refusal = self._too_large()
            raise self._refusal

    def _too_large(self) -> HeaderTooLargeError:
        limit = self.guard.limits.header_bytes
        return HeaderTooLargeError(
            f"the request's target and header fields have more than {limit:,} bytes: send fewer or shorter ones "
            "(LIVENESS_MAX_HEADER_BYTES is the limit)",
            limit=limit,
        )

    def _hear_no_more(self) -> None:
        """Take no further request: the connection ends with the answers to those that were taken."""
        self._deaf = True
        self._since = self.loop.time()
        self._incoming = _Incoming.NOTHING
        if self._in_work:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, error: ServiceError) -> None:
        """Answer a request that is not even HTTP, or too much of it, and close the connection."""
        if self._incoming is _Incoming.BODY and not self._in_work:  # it has its answer already
            self.transport.close()
            return
        if self._incoming is _Incoming.BODY:
            if self.pipeline or self.cycle.response_started:
                self._cut(error.code)
                return
            # The request's own body is at fault, and nothing of it will come any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif self._in_work:
            self._hear_no_more()
            return
        self._write_refusal(error)
        self.transport.close()
