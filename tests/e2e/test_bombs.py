"""Files that are small to send and costly to read, sent to a real service while others send ordinary photos."""

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from support import bombs
from support.clips import person_clip
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.alone

# The head alone and small: a face is found in it in some milliseconds.
PHOTO = encoded(cv2.resize(astronaut()[40:200, 150:310], (96, 96), interpolation=cv2.INTER_AREA), "JPEG")
DEADLINE_S = 10.0
MOST_MB = 300.0
"""What a bomb may add to the memory of the service and its workers."""
BOMBS = {
    "scans": (lambda: bombs.IMAGES["scans-6900-19MB.jpg"](), 2, "too_many_scans"),
    "few scans": (lambda: bombs.IMAGES["scans-3000-500kB.jpg"](), 2, "too_many_scans"),
    "webp": (bombs.webp_pixels, 4, None),
    "edits": (lambda: bombs.mp4_edits(person_clip(), 3_000_000), 2, "too_many_parts"),
    "samples": (lambda: bombs.mp4_samples(person_clip(), 60_000_000), 2, "too_many_frames"),
}
"""For each, how it is made, how many are sent at once, and the code of its answer; None if it is a picture."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    with running_server(folder, bundle_path=str(folder / "tiny"), workers="2") as running:
        # What is loaded once, for the first photo and the first clip, is no bomb's doing.
        with running.client() as client:
            client.post("/v1/liveness", content=PHOTO)
            client.post("/v1/liveness/video", content=person_clip())
        yield running


# What the others are refused for, tests/service/decoding and tests/core ask without a service.
@pytest.mark.parametrize(
    "name", [name if name in ("scans", "webp") else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_a_bomb_costs_its_own_request_and_fifty_photos_get_their_answers(server, name):
    make, times, refused_as = BOMBS[name]
    content = make()
    path = "/v1/liveness/video" if content[4:8] == b"ftyp" else "/v1/liveness"
    took, peak = [], []

    def attack():
        with server.client() as client:
            began = time.monotonic()
            answer = client.post(path, content=content)
            took.append(time.monotonic() - began)
            return answer.status_code, answer.json().get("code")

    def watch():
        while len(took) < times:
            peak.append(server.memory_mb("Pss"))
            time.sleep(0.02)

    with server.client() as client:
        expected = client.post("/v1/liveness", content=PHOTO).json()["score"]
        before = server.memory_mb("Pss")
        with ThreadPoolExecutor(times + 5) as threads:
            watching = threads.submit(watch)
            attacks = [threads.submit(attack) for _ in range(times)]
            answers = list(threads.map(lambda _: client.post("/v1/liveness", content=PHOTO).json(), range(50)))
            watching.result()
            answered = {each.result() for each in attacks}
    assert answered == {(200, None) if refused_as is None else (413, refused_as)}
    assert [answer.get("score") for answer in answers] == [expected] * 50
    assert max(took) < DEADLINE_S
    assert max(peak) - before < MOST_MB


def test_four_connections_that_loop_a_4k_clip_hold_up_no_other_clip(server):
    costly, ordinary, end = bombs.one_keyframe(3840, 2160, 1_700), person_clip(), time.monotonic() + 2
    took = []

    def loop():
        codes = set()
        with server.client() as client:
            while time.monotonic() < end:
                codes.add(client.post("/v1/liveness/video", content=costly).json()["code"])
        return codes

    with ThreadPoolExecutor(4) as threads, server.client() as client:
        loops = [threads.submit(loop) for _ in range(4)]
        while time.monotonic() < end or not took:
            began = time.monotonic()
            while (answer := client.post("/v1/liveness/video", content=ordinary)).status_code == 503:
                time.sleep(0.05)  # all places were taken at that moment: tried again, as the answer says
            assert answer.status_code == 200
            took.append(time.monotonic() - began)
        assert {code for looping in loops for code in looping.result()} <= {"too_much_to_decode", "overloaded"}
    assert max(took) < DEADLINE_S
