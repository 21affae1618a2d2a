"""Each limit of a connection, under it by one and over it by one, with a transport that only notes what is done to it.

tests/e2e/test_connections.py has the same limits over real sockets, where neither bytes nor seconds are exact.
"""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from liveness_service.http.ending import LINGER_BYTES, LINGER_S
from liveness_service.http.guard import ConnectionLimits, Guard
from liveness_service.http.protocol import _LINE_OVERHEAD, _SHORT_REST_BYTES, GuardedProtocol
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings

pytestmark = pytest.mark.anyio

LIMITS = ConnectionLimits.of(Settings(max_header_bytes=2048))
STEP_S = 0.001


class Transport(asyncio.Transport):
    """Notes what is sent, and how the connection ends."""

    def __init__(self):
        super().__init__()
        self.sent = b""
        self.pieces = 0
        self.unread = 0
        self.end = None

    def write(self, data):
        self.sent += data
        self.pieces += 1

    def write_eof(self):
        self.end = "eof"

    def close(self):
        self.end = "closed"

    def abort(self):
        self.end = "aborted"

    def is_closing(self):
        return self.end in ("closed", "aborted")

    def get_write_buffer_size(self):
        return self.unread

    def pause_reading(self):
        """Nothing is read here."""

    resume_reading = pause_reading


async def not_found(scope, receive, send):
    """Answer before the body has come, as a refusal does."""
    if scope["path"] == "/waits":
        await asyncio.sleep(3600)
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/breaks":
        raise RuntimeError("between head and body")
    await send({"type": "http.response.body", "body": b"no"})


class Connection:
    """A new connection."""

    def __init__(self):
        config = uvicorn.Config(not_found, http="httptools", ws="none", log_config=None, lifespan="off")
        config.load()
        self.guard = Guard(LIMITS, Metrics(), is_proxy=lambda _: False)
        self.transport = Transport()
        self.protocol = GuardedProtocol.with_guard(self.guard)(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)

    async def receives(self, content):
        self.protocol.data_received(content)
        for _ in range(5):
            await asyncio.sleep(0)

    def at(self, seconds):
        """The guard looks at it so many seconds after its last step."""
        self.protocol.expire(self.protocol._since + seconds)

    @property
    def cut_for(self):
        samples = next(iter(self.guard.metrics.connections_closed.collect())).samples
        return {sample.labels["reason"] for sample in samples if sample.value and sample.name.endswith("_total")}


@pytest.fixture
async def connection():
    made = Connection()
    yield made
    made.protocol.connection_lost(None)
    for task in made.protocol.tasks:
        task.cancel()


def head(length, path="/"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_head_and_body_of_an_answer_are_sent_at_once(connection):
    for answers in (1, 2):
        await connection.receives(head(0))
        assert connection.transport.sent.endswith(b"\r\n\r\nno")
        assert connection.transport.pieces == answers


async def test_a_head_without_a_body_is_sent_when_the_connection_ends(connection):
    await connection.receives(head(0, "/breaks"))
    assert connection.transport.sent.startswith(b"HTTP/1.1 404")
    assert connection.transport.end == "closed"


async def test_a_connection_outlives_a_refusal_if_little_is_to_come(connection):
    await connection.receives(head(_SHORT_REST_BYTES))
    assert b"404" in connection.transport.sent
    assert b"connection: close" not in connection.transport.sent
    assert connection.transport.end is None


async def test_a_connection_ends_with_a_refusal_if_a_byte_more_is_to_come(connection):
    await connection.receives(head(_SHORT_REST_BYTES + 1))
    assert b"connection: close" in connection.transport.sent
    assert connection.transport.end == "eof"


async def test_whoever_sends_on_after_the_end_is_read_so_far_and_no_further(connection):
    await connection.receives(head(900 << 20))
    await connection.receives(bytes(LINGER_BYTES))
    assert connection.transport.end == "eof"
    await connection.receives(b"x")
    assert connection.transport.end == "aborted"
    assert connection.cut_for == {"sent_on"}


async def test_whoever_does_not_hang_up_after_the_end_has_so_long_and_no_longer(connection):
    await connection.receives(head(900 << 20))
    closed_at = connection.protocol._closed_at
    connection.protocol.expire(closed_at + LINGER_S - STEP_S)
    assert connection.transport.end == "eof"
    connection.protocol.expire(closed_at + LINGER_S)
    assert connection.transport.end == "aborted"


async def test_a_head_has_so_long_and_no_longer(connection):
    await connection.receives(b"GET / HTTP/1.1\r\n")
    connection.at(LIMITS.header_s - STEP_S)
    assert connection.transport.sent == b""
    connection.at(LIMITS.header_s)
    assert b"408" in connection.transport.sent


async def test_a_body_has_so_long_and_no_longer(connection):
    await connection.receives(head(100, "/waits"))
    connection.at(LIMITS.body_s - STEP_S)
    assert connection.transport.end is None
    connection.at(LIMITS.body_s)
    assert connection.cut_for == {"slow_body"}


async def test_an_unwanted_rest_has_so_long_and_no_longer(connection):
    await connection.receives(head(100))
    connection.at(LINGER_S - STEP_S)
    assert connection.transport.end is None
    connection.at(LINGER_S)
    assert connection.cut_for == {"sent_on"}


async def test_a_connection_is_idle_so_long_and_no_longer(connection):
    await connection.receives(head(0))
    connection.at(LIMITS.idle_s - STEP_S)
    assert connection.transport.end is None
    connection.at(LIMITS.idle_s)
    assert connection.transport.end == "closed"


async def test_an_answer_is_unread_so_long_and_no_longer(connection):
    await connection.receives(head(0))
    connection.at(0)
    connection.transport.unread = 1
    connection.at(LIMITS.answer_s - STEP_S)
    assert connection.transport.end is None
    connection.at(LIMITS.answer_s)
    assert connection.cut_for == {"unread_answer"}


async def test_what_is_no_progress_is_taken_up_to_the_limit_and_not_a_byte_further(connection):
    await connection.receives(b"POST /waits HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    await connection.receives(b"1;" + b"a" * (LIMITS.header_bytes + _LINE_OVERHEAD - 2))
    assert connection.transport.sent == b""
    await connection.receives(b"a")
    assert b"431" in connection.transport.sent
