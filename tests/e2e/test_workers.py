"""A service whose decoders hang, crash and take memory: each such upload costs its own request and nothing else."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import pytest

from support import hostile_worker
from support.clips import person_clip
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle
from support.variants import slow_but

# The head alone and small: a face is found in it in some milliseconds.
PHOTO = encoded(cv2.resize(astronaut()[40:200, 150:310], (96, 96), interpolation=cv2.INTER_AREA), "JPEG")
DEADLINE_S = 5.0
CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))  # see test_chaos.py
HOSTILE = (sys.executable, hostile_worker.__file__)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Settings of a service that starts for less: with a small bundle, and one worker."""
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path)
    return {"bundle_path": str(path), "workers": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    with running_server(
        folder,
        command=HOSTILE,
        bundle_path=str(folder / "tiny"),
        workers="2",
        worker_memory_mb="400",
        deadline_ms=str(round(1000 * DEADLINE_S)),
        clip_deadline_ms=str(round(1000 * DEADLINE_S)),
        api_keys="",
        rate_limit_store="memory://",
    ) as running:
        yield running
        pids = running.processes()
        assert len(pids) > 2
    # Its end was a kill: see also test_a_killed_service_leaves_no_process_behind.
    wait_until(lambda: not any(_runs(pid) for pid in pids), 10)


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def score(client, content=PHOTO, path="/v1/liveness"):
    return client.post(path, content=content)


def score_alone(server, content):
    """Over a connection of its own."""
    with server.client() as client:
        return score(client, content)


def code(answer):
    return answer.status_code, answer.json().get("code")


def children(server):
    """The process that workers are forked from, then the workers."""
    return server.processes()[1:]


def wait_until(condition, timeout_s=30.0):
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, "it does not happen"
        time.sleep(0.05)


def metric(client, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{") and all(label in line for label in wanted):
            return float(line.rpartition(" ")[2])
    return 0.0


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (b"abort", "crashed"),
        pytest.param(b"exit", "crashed", marks=pytest.mark.slow),
        pytest.param(b"lie {}", "crashed", marks=pytest.mark.slow),
        pytest.param(b"lie \x80\x04N.", "crashed", marks=pytest.mark.slow),
        (b'lie {"document_bytes": 9999999}', "crashed"),
        # And it has written nothing.
        pytest.param(b'lie {"document_bytes": 10}', "crashed", marks=pytest.mark.slow),
        (b"mapped 600", "memory"),
    ],
)
def test_a_worker_that_fails_costs_its_own_request_and_is_replaced(client, order, reason):
    before = metric(client, "liveness_worker_ends_total", pool="photos", reason=reason)
    answer = score(client, order)
    assert code(answer) == (400, "decoder_failed")
    assert metric(client, "liveness_worker_ends_total", pool="photos", reason=reason) == before + 1
    wait_until(lambda: metric(client, "liveness_workers", pool="photos") == 2)
    assert score(client).json()["verdict"] == "live"


def test_a_worker_that_answers_unasked_is_ended_before_it_gets_an_upload(client):
    before = metric(client, "liveness_worker_ends_total", pool="photos", reason="crashed")
    assert code(score(client, b'later {"document_bytes": 10}')) == (415, "unsupported_media")
    wait_until(lambda: metric(client, "liveness_worker_ends_total", pool="photos", reason="crashed") == before + 1)
    assert score(client).json()["verdict"] == "live"


@pytest.mark.parametrize(
    "order", slow_but((b"allocate 20480", b"grow"), [b"allocate 20480", b"allocate 200", b"grow", b"grow 200"])
)
def test_more_memory_than_a_worker_may_take_is_refused_and_the_worker_goes_on(client, order):
    ends = client.get("/metrics").text.count("liveness_worker_ends_total")
    assert code(score(client, order)) == (400, "decoder_failed")
    assert client.get("/metrics").text.count("liveness_worker_ends_total") == ends
    assert score(client).json()["verdict"] == "live"


@pytest.mark.parametrize("order", [b"allocate 110", pytest.param(b"grow 110", marks=pytest.mark.slow)])
def test_memory_below_the_limit_is_given(client, order):
    # The decoder gets it, and then finds that this is no picture.
    assert code(score(client, order)) == (415, "unsupported_media")


def test_a_fault_of_the_code_is_answered_and_logged_as_before(client, server):
    assert code(score(client, b"raise")) == (500, "internal_error")
    assert any("nobody expected this" in line.get("traceback", "") for line in server.log())


@pytest.mark.parametrize("order", [b"hang", pytest.param(b"spin", marks=pytest.mark.slow)])
def test_what_hangs_ends_at_the_deadline(client, order):
    began = time.monotonic()
    answer = score(client, order)
    assert code(answer) in [(504, "deadline_exceeded"), (400, "decoder_failed")]
    assert time.monotonic() - began < DEADLINE_S + 3
    wait_until(lambda: metric(client, "liveness_workers", pool="photos") == 2)


def test_a_client_that_leaves_frees_its_worker(client):
    before = metric(client, "liveness_worker_ends_total", pool="photos", reason="abandoned")
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/liveness", content=b"hang", timeout=0.5)
    began = time.monotonic()
    wait_until(
        lambda: metric(client, "liveness_worker_ends_total", pool="photos", reason="abandoned") == before + 1,
        DEADLINE_S,
    )
    assert time.monotonic() - began < DEADLINE_S


@pytest.mark.parametrize(
    "door",
    ["read:/etc/passwd", "read:/proc/self/environ", "write:/dev/shm/x", "remove:/dev/shm/x", "socket", "fork", "run"],
)
def test_no_door_is_open(client, server, door):
    for line in server.log():
        if line["event"] == "workers_less_protected":
            pytest.skip(f"this system has no {line['missing']}")
    detail = score(client, b"try " + door.encode()).json()["detail"]
    assert detail.startswith("refused: "), detail


def test_a_worker_cannot_signal_the_service(client, server):
    assert score(client, b"try signal:%d" % server.process.pid).json()["detail"].startswith("refused: ")


def test_a_worker_knows_no_secret(client):
    names = score(client, b"try environment").json()["detail"]
    assert "LIVENESS" not in names
    assert "PATH" in names


def test_fifty_photos_get_their_answers_while_decoders_hang_crash_and_take_memory(client, server):
    expected = score(client).json()
    before = server.memory_mb("Pss")
    hostile = [b"hang", b"abort", b"allocate 20480"]
    took, peak = {}, [before]

    def attack(order):
        began = time.monotonic()
        answer = score_alone(server, order)
        took[order] = time.monotonic() - began
        return code(answer)

    def watch():
        while len(took) < len(hostile):
            peak.append(server.memory_mb("Pss"))
            time.sleep(0.1)

    with ThreadPoolExecutor(7) as threads:
        attacks = [threads.submit(attack, order) for order in hostile]
        watching = threads.submit(watch)
        answers = list(threads.map(lambda _: score(client).json(), range(50)))
        assert [each.result() for each in attacks] == [
            (504, "deadline_exceeded"),
            (400, "decoder_failed"),
            (400, "decoder_failed"),
        ]
        watching.result()
    assert {answer.get("verdict") for answer in answers} == {"live"}
    assert {answer["score"] for answer in answers} == {expected["score"]}
    assert max(took.values()) < DEADLINE_S + 3
    assert max(peak) - before < 300


def test_where_both_workers_hang_others_stand_in_for_them(client, server):
    with ThreadPoolExecutor(6) as threads:
        began = time.monotonic()
        hanging = [threads.submit(score_alone, server, b"hang") for _ in "ab"]
        time.sleep(0.2)
        answers = [answer.status_code for answer in threads.map(lambda _: score(client), range(4))]
        assert time.monotonic() - began < DEADLINE_S - 0.5  # and not when the workers that hang are replaced
        assert answers == [200] * 4
    assert [each.result().status_code for each in hanging] == [504] * 2


def test_chaos_of_a_worker_killed_every_second_costs_only_its_own_requests(client, server):
    expected = score(client).json()["score"]
    stop_at = time.monotonic() + CHAOS_SECONDS
    answers, kills = [], 0

    def load():
        with server.client() as own:
            while time.monotonic() < stop_at:
                answers.append(score(own))

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(load) for _ in range(4)]
        while time.monotonic() < stop_at - 1:
            time.sleep(1)
            workers = children(server)[1:]
            os.kill(workers[kills % len(workers)], signal.SIGKILL)
            kills += 1
        for each in running:
            each.result()
    failed = [answer for answer in answers if answer.status_code != 200]
    assert len(failed) <= kills
    assert {code(answer) for answer in failed} <= {(400, "decoder_failed")}
    assert {answer.json()["score"] for answer in answers if answer.status_code == 200} == {expected}
    assert len(answers) > 2 * kills


def test_a_lost_fork_server_is_replaced(client, server):
    wait_until(lambda: metric(client, "liveness_workers", pool="clips") == 2)
    [fork_server, *_] = children(server)
    os.kill(fork_server, signal.SIGKILL)
    wait_until(lambda: fork_server not in children(server))
    wait_until(lambda: metric(client, "liveness_workers", pool="photos") == 2)
    assert score(client).json()["verdict"] == "live"
    assert score(client, person_clip(), "/v1/liveness/video").status_code == 200


def test_readiness_fails_while_no_worker_answers_and_recovers_by_itself(client, server):
    wait_until(lambda: client.get("/health/ready").status_code == 200)
    [fork_server, *workers] = children(server)
    for pid in [fork_server, *workers]:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert score(client).status_code == 504
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        assert client.get("/health/ready").json()["code"] == "workers_unavailable"
        assert client.get("/health/live").status_code == 200
        assert "liveness_ready 0.0" in client.get("/metrics").text
    finally:
        for pid in [fork_server, *workers]:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: client.get("/health/ready").status_code == 200)
    assert score(client).json()["verdict"] == "live"


@pytest.mark.slow
def test_a_stuck_decoder_does_not_hold_up_the_end(tmp_path, small):
    with running_server(tmp_path, command=HOSTILE, **small, shutdown_grace_ms="1000") as server:
        pids = children(server)
        with ThreadPoolExecutor(1) as threads, server.client() as client:
            hanging = threads.submit(lambda: _outcome(client, b"spin"))
            time.sleep(0.5)
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 5
            hanging.result()
    wait_until(lambda: not any(_runs(pid) for pid in pids), 5)


@pytest.mark.slow  # the end of `server` asks the same of workers that have nothing to do
def test_a_killed_service_leaves_no_process_behind(tmp_path, small):
    with running_server(tmp_path, command=HOSTILE, **small) as server:
        pids = children(server)
        assert len(pids) >= 2
        with ThreadPoolExecutor(1) as threads, server.client() as client:
            hanging = threads.submit(lambda: _outcome(client, b"spin"))
            time.sleep(0.5)
            server.process.kill()
            server.process.wait()
            hanging.result()
        wait_until(lambda: not any(_runs(pid) for pid in pids), 10)


def _outcome(client, content):
    try:
        return score(client, content).status_code
    except httpx.TransportError as error:
        return type(error).__name__


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
