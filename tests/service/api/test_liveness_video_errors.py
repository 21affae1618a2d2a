"""Clips that are refused, and what the settings and the deadline have to do with it."""

import threading

import pytest

from liveness_core.scoring import ClipScorer
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.submission import Endpoint
from support import bombs
from support.clips import (
    person_clip,
)
from support.pictures import astronaut, encoded

URL = "/v1/liveness/video"


def test_a_bundle_without_a_temporal_head_says_so_and_scores_photos(client, problem_of):
    problem = problem_of(client.post(URL, content=person_clip()), 501, "clips_unsupported")
    assert "temporal.onnx" in problem["detail"]
    assert client.post("/v1/liveness", content=encoded(astronaut(), "PNG")).json()["verdict"] == "live"


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("max_clip_bytes", 2048, "too_many_bytes"),
        ("max_clip_seconds", 1.0, "too_many_seconds"),
        ("max_clip_frames", 59, "too_many_frames"),
        ("max_clip_pixels", 70_000, "too_many_pixels"),
    ],
)
def test_limits_come_from_the_settings_and_are_named(serve, clips_bundle, problem_of, setting, value, code):
    with serve(bundle_path=clips_bundle, **{setting: value}) as client:
        problem = problem_of(client.post(URL, content=person_clip()), 413, code)
    assert f"LIVENESS_{setting.upper()}" in problem["detail"]
    assert problem["limit"] == value


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"faces": "all"}, "faces"),
        ({"operating_point": "apcer3"}, "apcer3"),
        ({"operatingpoint": "eer"}, "operatingpoint"),
    ],
)
def test_a_wrong_parameter(clips, problem_of, query, words):
    problem = problem_of(clips.post(URL, content=person_clip(), params=query), 422, "invalid_parameter")
    assert words in problem["detail"]


def test_the_wrong_field_of_a_form(clips, problem_of):
    problem = problem_of(clips.post(URL, files={"image": ("clip.mp4", person_clip())}), 422, "invalid_parameter")
    assert "video" in problem["detail"]
    problem_of(clips.post(URL, content=b""), 400, "empty_body")
    problem_of(clips.post(URL, content=encoded(astronaut(), "JPEG")), 415, "unsupported_media")
    problem_of(clips.post("/v1/liveness", content=person_clip()), 415, "unsupported_media")
    problem_of(clips.post(URL, content=person_clip()[:2000]), 400, "unreadable_media")


def test_a_deadline_ends_the_decoding_too(serve, clips_bundle, problem_of, monkeypatch):
    ended = threading.Event()
    original = ClipPreparation.prepare

    def watched(*arguments):
        try:
            return original(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(ClipPreparation, "prepare", watched)
    content = bombs.one_keyframe(640, 360, 1_000)  # long to read, not to make
    with serve(bundle_path=clips_bundle, clip_deadline_ms=10) as client:
        problem_of(client.post(URL, content=content), 504, "deadline_exceeded")
        assert ended.wait(2)


def test_a_head_that_fails_gives_no_score(serve, clips_bundle, problem_of, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    with serve(bundle_path=clips_bundle) as client:
        monkeypatch.setattr(ClipScorer, "score_embeddings", broken)
        problem = problem_of(client.post(URL, content=person_clip()), 503, "scoring_failed")
    assert "broken" not in problem["detail"]


@pytest.mark.anyio
async def test_more_clips_than_are_taken(running, clips_bundle):
    async with running(bundle_path=clips_bundle, max_inflight_clips=1) as client:
        service = client._transport.app.state.service
        with service.admit(Endpoint.CLIP):
            refused = await client.post(URL, content=person_clip())
            photo = await client.post("/v1/liveness", content=encoded(astronaut(), "PNG"))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "LIVENESS_MAX_INFLIGHT_CLIPS" in refused.json()["detail"]
        assert photo.status_code == 200
        assert (await client.post(URL, content=person_clip())).status_code == 200
