"""A photo in, a verdict out: a real server, the default bundle, a real face."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from liveness_service.api.schemas import LivenessResponse
from support.pictures import astronaut, encoded, no_face, two_faces
from support.server import Server
from support.variants import slow_but


def metric(server: Server, name: str, **labels: str) -> float:
    with server.client() as client:
        text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


def post(server: Server, content: bytes, **query: str) -> LivenessResponse:
    with server.client() as client:
        answer = client.post("/v1/liveness", params=query, files={"image": ("photo", content)})
    assert answer.status_code == 200, answer.text
    return LivenessResponse.model_validate_json(answer.text)


def test_the_astronaut_is_found_scored_and_live(server):
    answer = post(server, encoded(astronaut(), quality=95))

    (face,) = answer.faces
    x1, y1, x2, y2 = face.box
    for x, y in face.landmarks:
        assert x1 < x < x2
        assert y1 < y < y2
    assert (x1, y1, x2, y2) == pytest.approx((178, 59, 268, 173), abs=8)
    assert answer.score == face.score
    assert answer.threshold <= answer.score <= 1
    assert answer.verdict == face.verdict == "live"
    assert answer.reasons == []
    assert (answer.image.width, answer.image.height) == (512, 512)
    assert answer.model.name == "default"
    timings = answer.timings_ms
    stages = [timings.decode, timings.detect, timings.align, timings.infer]
    assert min(stages) > 0
    assert sum(stages) <= timings.total


def test_a_raw_body_gets_the_same_answer_as_a_form(server):
    content = encoded(astronaut(), "PNG")
    with server.client() as client:
        raw = client.post("/v1/liveness", content=content, headers={"Content-Type": "image/png"})
    assert LivenessResponse.model_validate_json(raw.text).score == post(server, content).score


@pytest.mark.parametrize("kind", slow_but(("WEBP",), ["JPEG", "PNG", "WEBP", "BMP"]))
def test_every_accepted_kind_gives_about_the_same_score(server, kind):
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    reference = post(server, encoded(astronaut(), "PNG")).score
    assert post(server, encoded(astronaut(), kind, **options)).score == pytest.approx(reference, abs=0.1)


def test_pictures_that_cannot_be_judged_are_undetermined_and_not_scored(server):
    for picture, reason in ((no_face(), "no_face"), (two_faces(), "multiple_faces")):
        answer = post(server, encoded(picture))
        assert answer.verdict == "undetermined"
        assert answer.reasons == [reason]
        assert answer.score is None


def test_each_face_of_two_is_scored_when_asked(server):
    answer = post(server, encoded(two_faces(), "PNG"), faces="all")
    scores = [face.score for face in answer.faces]
    assert len(scores) == 2
    assert answer.score == min(scores)


def test_metrics_and_log_tell_of_the_request(server):
    counted = ("liveness_verdicts_total", {"endpoint": "/v1/liveness", "verdict": "live"})
    before = metric(server, counted[0], **counted[1])
    answer = post(server, encoded(astronaut(), "PNG"))
    assert metric(server, counted[0], **counted[1]) == before + 1
    assert metric(server, "liveness_inflight_requests") == 0

    lines = [line for line in server.log() if line.get("request_id") == answer.request_id]
    (line,) = lines
    assert line["event"] == "request"
    assert line["status"] == 200
    assert line["verdict"] == "live"
    assert line["score"] == answer.score
    assert line["model_version"] == answer.model.version


def test_requests_at_the_same_time_each_get_their_own_answer(server):
    face, nothing = encoded(astronaut(), "PNG"), encoded(no_face())
    expected = post(server, face).score
    contents = [face, nothing] * 5
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda content: post(server, content), contents))
    assert [answer.score for answer in answers] == [pytest.approx(expected, abs=1e-3), None] * 5
    assert len({answer.request_id for answer in answers}) == len(contents)


def test_a_50_megapixel_photo_is_scored_and_the_server_answers_meanwhile(server):
    import numpy as np

    large = np.zeros((5_000, 10_000, 3), np.uint8)
    large[2_000:4_048, 4_000:6_048] = np.kron(astronaut(), np.ones((4, 4, 1), np.uint8))
    content = encoded(large, quality=90)
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        began = time.perf_counter()
        scoring = pool.submit(post, server, content)
        probes = []
        while not scoring.done():
            started = time.perf_counter()
            client.get("/health/live").raise_for_status()
            probes.append(time.perf_counter() - started)
            time.sleep(0.01)
        took = time.perf_counter() - began
        answer = scoring.result()
    assert len(probes) > 3
    assert max(probes) < max(0.5, took / 3)  # where other tests take the processor, all takes longer
    (face,) = answer.faces
    assert face.box[0] == pytest.approx(4_000 + 4 * 178, abs=80)
