"""What strangers may do to a connection, over real sockets: long or slow heads, unread answers, dripping uploads."""

import json
import resource
import time
from contextlib import ExitStack

import pytest

from support.clips import person_clip
from support.connections import (
    connected,
    eventually,
    head_of,
    memory_mb,
    metric,
    read_all,
    read_one,
    request,
    send_without_end,
)
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

HEADER_BYTES = 2048
PIPELINED = 2
CONNECTIONS = 24
UPLOADS = 8
PHOTO = encoded(astronaut(), quality=90)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("connections")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.9")  # so that 127.0.0.1 is a client like any other
        with running_server(
            folder,
            bundle_path=str(folder / "tiny"),
            workers="1",
            max_header_bytes=str(HEADER_BYTES),
            header_timeout_ms="3000",
            max_pipelined=str(PIPELINED),
            answer_timeout_ms="1500",
            keep_alive_ms="3000",
            max_connections=str(CONNECTIONS),
            max_connections_per_address=str(CONNECTIONS - 4),
            max_inflight="2",
            max_inflight_clips="1",
            max_uploads=str(UPLOADS),
            upload_timeout_ms="4000",
            clip_upload_timeout_ms="4000",
        ) as started:
            yield started


def problem_of(answer, status, code):
    found, fields, body = answer
    problem = json.loads(body)
    assert (found, problem["status"], problem["code"]) == (status, status, code)
    assert fields["content-type"] == "application/problem+json"
    assert fields["connection"] == "close"
    assert problem["request_id"].lower() == fields["x-request-id"]
    return problem


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_head_may_be_as_long_as_the_limit_and_not_a_byte_longer(server, pieces):
    def answer_to(content):
        with connected(server) as line:
            for start in range(0, len(content), len(content) // pieces + 1):
                line.sendall(content[start : start + len(content) // pieces + 1])
                time.sleep(0.05)
            return read_one(line)

    assert answer_to(head_of(HEADER_BYTES))[0] == 200
    problem = problem_of(answer_to(head_of(HEADER_BYTES + 1)), 431, "header_too_large")
    assert problem["limit"] == HEADER_BYTES
    assert "LIVENESS_MAX_HEADER_BYTES" in problem["detail"]


def test_fields_after_the_body_count_too(server):
    begun = request("/v1/liveness", "POST", Host="x", Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n"
    with connected(server) as line:
        line.sendall(begun + b"A: b\r\n" * 1000)
        problem_of(read_one(line), 431, "header_too_large")
    with connected(server) as line:
        line.sendall(begun + b"A: b\r\n\r\n")
        assert read_one(line)[0] == 415


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET /health/live HTTP/1.1\r\n", b"X-Field: " + b"a" * 1000 + b"\r\n"),
        (b"GET /health/live HTTP/1.1\r\nX-Field: ", b"a" * (1 << 16)),
        (b"GET /", b"a" * (1 << 16)),
        (request("/v1/liveness", "POST", Transfer_Encoding="chunked") + b"1;", b"a" * (1 << 16)),
    ],
    ids=["fields", "value", "target", "chunk extension"],
)
def test_an_endless_head_takes_no_memory_and_holds_up_nobody(server, begun, piece):
    with connected(server) as line, server.client() as client:
        client.get("/health/live")
        before = memory_mb(server)
        line.sendall(begun)
        sent = send_without_end(line, piece, 300 << 20)
        asked = time.perf_counter()
        assert client.get("/health/live").status_code == 200
        assert time.perf_counter() - asked < 2
        assert memory_mb(server) - before < 20
    assert sent < 100 << 20


def test_a_connection_without_a_request_is_closed_in_time(server):
    began = time.monotonic()
    with ExitStack() as lines:
        silent, half, blank, slow = (lines.enter_context(connected(server)) for _ in range(4))
        half.sendall(b"GET /health/live HTTP/1.1\r\nHost:")
        blank.sendall(b"\r\n")
        slow.sendall(b"GET /health/live HTTP/1.1\r\n")
        time.sleep(1)
        slow.sendall(b"Host: x\r\n\r\n")
        blank.sendall(b"\r\n")  # more of nothing gives no more time
        assert read_one(slow)[0] == 200
        problem = problem_of(read_one(half), 408, "header_timeout")
        assert "3 s" in problem["detail"]
        assert read_all(silent) == b""
        assert read_one(blank)[0] == 408
        assert 2.9 < time.monotonic() - began < 30
        # The next head on a connection that was used has no more time than the first one.
        slow.sendall(b"GET")
        read_all(slow)


def test_an_idle_connection_is_closed_in_time(server):
    with connected(server) as line:
        line.sendall(request(Host="x"))
        read_one(line)
        time.sleep(1.5)
        line.sendall(request(Host="x"))
        read_one(line)
        answered = time.monotonic()
        assert read_all(line) == b""
        assert time.monotonic() - answered > 2.5


def test_those_who_send_nothing_keep_nobody_out(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as lines:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4_096), hard), hard))
        lines.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(1_000):
            line = lines.enter_context(connected(server, f"127.0.0.{number % 5 + 2}"))
            if number % 2:
                line.sendall(b"GET /health/live HTTP/1.1\r\nHost:")
        assert metric(server, "liveness_connections") <= CONNECTIONS
        with server.client() as client:
            assert client.post("/v1/liveness", content=PHOTO).json()["verdict"] == "live"
    assert metric(server, 'liveness_connections_closed_total{reason="no_room"}') > 900


def test_requests_ahead_of_their_answers_are_bounded(server):
    as_many, one_more = request(Host="x") * (PIPELINED + 1), request(Host="x") * (PIPELINED + 2)
    with connected(server) as line:
        line.sendall(as_many)
        received = b""
        while received.count(b'{"status":"live"}') <= PIPELINED:
            received += line.recv(1 << 16)
        assert b"connection: close" not in received
        line.sendall(one_more)
        received = read_all(line)
    assert received.count(b'{"status":"live"}') == PIPELINED + 1
    assert received.count(b"connection: close") == 1


def test_answers_that_are_never_read_take_no_memory(server):
    with server.client() as client:
        client.get("/openapi.json")
    before = memory_mb(server)
    with connected(server, receive_buffer=4096) as line:
        line.settimeout(0.5)
        send_without_end(line, request("/openapi.json", Host="x") * 1000, 100 << 20)
        assert memory_mb(server) - before < 20
    with ExitStack() as lines:
        for _ in range(10):
            line = lines.enter_context(connected(server, receive_buffer=4096))
            line.sendall(request("/openapi.json", Host="x") * (PIPELINED + 1))
        cut = 'liveness_connections_closed_total{reason="unread_answer"}'
        eventually(lambda: metric(server, cut) >= 10)
        assert memory_mb(server) - before < 30


def test_an_answer_that_is_read_late_but_in_time_is_whole(server):
    with connected(server, receive_buffer=4096) as line:
        line.sendall(request("/openapi.json", Host="x", Connection="close"))
        time.sleep(0.7)
        head, _, body = read_all(line).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(body)["openapi"]


def test_after_an_early_refusal_little_more_is_read(server):
    for path, fields in (("/v1/liveness", {}), ("/nowhere", {}), ("/v1/liveness/video", {"Expect": "100-continue"})):
        with connected(server) as line:
            line.sendall(request(path, "POST", Host="x", Content_Length=900 << 20, **fields))
            status, fields, _ = read_one(line)
            assert status in (404, 413)
            assert fields["connection"] == "close"
            line.settimeout(10)
            assert send_without_end(line, bytes(1 << 20), 900 << 20) < 100 << 20


def test_a_small_body_that_nobody_wanted_costs_no_connection(server):
    with connected(server) as line:
        for _ in range(70):  # more than is read after one refusal
            line.sendall(request("/nowhere", "POST", Host="x", Content_Length=1_000_000))
            status, fields, _ = read_one(line)
            assert status == 404
            assert "connection" not in fields
            line.sendall(bytes(1_000_000))


def drips(server, lines, path, count, source):
    """Begin uploads that do not go on."""
    begun = []
    for _ in range(count):
        line = lines.enter_context(connected(server, source))
        line.sendall(request(path, "POST", Host="x", Content_Length=len(PHOTO)) + PHOTO[:10])
        begun.append(line)
    return begun


@pytest.mark.parametrize(
    ("path", "content"), [("/v1/liveness", PHOTO), pytest.param("/v1/liveness/video", None, marks=pytest.mark.slow)]
)
def test_dripping_uploads_take_no_slot_and_one_client_has_half_of_the_places(server, path, content):
    content = content or person_clip()
    with ExitStack() as lines:
        dripping = drips(server, lines, path, UPLOADS // 2, "127.0.0.2")
        eventually(lambda: metric(server, "liveness_uploads") == UPLOADS // 2)
        assert metric(server, "liveness_inflight_requests") == 0
        assert metric(server, "liveness_held_bytes") == 10 * UPLOADS // 2
        with connected(server, "127.0.0.2") as line:
            line.sendall(request(path, "POST", Host="x", Content_Length=len(content)))
            status, _, body = read_one(line)
        assert (status, json.loads(body)["code"]) == (429, "too_many_at_once")
        with server.client() as client:
            assert client.post(path, content=content).json()["verdict"] == "live"
        assert [read_one(line)[0] for line in dripping] == [408] * len(dripping)
    eventually(lambda: metric(server, "liveness_uploads") == metric(server, "liveness_held_bytes") == 0)


def test_when_all_places_for_uploads_are_taken_the_next_is_refused_unread(server):
    with ExitStack() as lines:
        for source in ("127.0.0.2", "127.0.0.3"):
            drips(server, lines, "/v1/liveness", UPLOADS // 2, source)
        eventually(lambda: metric(server, "liveness_uploads") == UPLOADS)
        with connected(server) as line:
            line.sendall(request("/v1/liveness", "POST", Host="x", Content_Length=len(PHOTO)))
            status, fields, body = read_one(line)
        assert (status, json.loads(body)["code"], fields["retry-after"]) == (503, "overloaded", "1")
    # The clients are gone, and so is all that they held.
    eventually(lambda: metric(server, "liveness_uploads") == metric(server, "liveness_held_bytes") == 0)


def test_what_is_no_http_is_told_so(server):
    with connected(server) as line:
        line.sendall(b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n")
        problem_of(read_one(line), 400, "malformed_request")
    with connected(server) as line:
        line.sendall(request("/v1/liveness", "POST", Host="x", Transfer_Encoding="chunked") + b"nonsense\r\n")
        problem_of(read_one(line), 400, "malformed_request")


def test_a_request_to_speak_something_else_is_answered_as_it_is(server):
    with connected(server) as line:
        line.sendall(request(Host="x", Connection="Upgrade", Upgrade="h2c") + b"PRI * HTTP/2.0\r\n\r\n")
        status, fields, _ = read_one(line)
        assert (status, fields["connection"]) == (200, "close")
