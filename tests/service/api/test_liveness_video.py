import base64
from functools import cache

import cv2
import numpy as np
import pytest

from liveness_service.api.schemas import ClipResponse
from support.clips import (
    clip,
    cut_clip,
    holding_still,
    nobody,
    one_after_the_other,
    person,
    person_clip,
    somebody_else,
    still,
    two_people,
)
from support.pictures import encoded

URL = "/v1/liveness/video"


@cache
def empty_clip():
    """Two seconds without a person."""
    return clip(nobody)


def answer_of(response):
    assert response.status_code == 200, response.text
    ClipResponse.model_validate_json(response.text)
    return response.json()


def ask(client, content, **query):
    return answer_of(client.post(URL, content=content, headers={"Content-Type": "video/mp4"}, params=query))


# --- the answer ---


def test_the_answer_has_every_field_of_the_contract(clips):
    answer = ask(clips, person_clip())
    assert set(answer) == {
        "request_id",
        "verdict",
        "reasons",
        "score",
        "threshold",
        "operating_point",
        "faces",
        "image",
        "model",
        "timings_ms",
        "clip",
        "frames",
        "frame_score",
    }
    assert (answer["verdict"], answer["reasons"]) == ("live", [])
    assert answer["clip"] == {
        "frames_used": 8,
        "duration_s": pytest.approx(2.0),
        "fps": pytest.approx(30.0),
        "width": 320,
        "height": 240,
    }
    assert answer["image"] == {"width": 320, "height": 240}
    assert [frame["index"] for frame in answer["frames"]] == [3, 11, 18, 26, 33, 41, 48, 56]
    for frame in answer["frames"]:
        assert set(frame) == {"index", "time_s", "score", "box", "reasons"}
        assert frame["time_s"] == pytest.approx(frame["index"] / 30, abs=2e-3)
        assert frame["reasons"] == []
        x1, y1, x2, y2 = frame["box"]
        assert 90 < x1 < x2 < 230
        assert 40 < y1 < y2 < 200
    assert answer["frame_score"] == pytest.approx(np.mean([frame["score"] for frame in answer["frames"]]))
    [face] = answer["faces"]
    assert (face["score"], face["verdict"], face["reasons"]) == (answer["score"], "live", [])
    timings = answer["timings_ms"]
    assert min(timings[stage] for stage in ("decode", "detect", "align", "infer")) > 0
    assert sum(timings[stage] for stage in ("decode", "detect", "align", "queue", "infer")) <= timings["total"] + 0.1


def test_the_score_is_the_temporal_heads_and_not_the_mean_of_the_frames(clips):
    def brighter(number):
        return np.clip(person(number) * (0.5 + number / 100), 0, 255).astype(np.uint8)

    answer = ask(clips, clip(brighter))
    # The tiny bundle's head gives later frames more weight, and later ones are brighter.
    assert answer["score"] > answer["frame_score"] + 1e-3


def test_a_form_gets_the_same_answer_as_a_raw_body(clips):
    form = answer_of(clips.post(URL, files={"video": ("clip.mp4", person_clip(), "video/mp4")}))
    assert form["score"] == ask(clips, person_clip())["score"]


def test_a_frame_is_scored_as_a_photo_of_it_is(clips):
    first = ask(clips, clip(seconds=0.6, options={"crf": "5"}))["frames"][0]
    photo = clips.post("/v1/liveness", content=encoded(person(first["index"]), "PNG")).json()
    assert first["score"] == pytest.approx(photo["score"], abs=0.01)


def test_the_operating_point_is_the_clips(clips):
    answer = ask(clips, person_clip(), operating_point="strict")
    assert (answer["operating_point"], answer["threshold"], answer["verdict"]) == ("strict", 0.9999, "spoof")


@pytest.mark.slow  # tests/service/scoring/test_clip.py asks for one
def test_a_heat_map_is_of_the_middle_frame(clips):
    [face] = ask(clips, person_clip(), explain="true")["faces"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(face["heatmap_png"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (224, 224, 3)
    [face] = ask(clips, person_clip())["faces"]
    assert face["heatmap_png"] is None


def test_verdict_and_score_are_counted_and_logged(serve, clips_bundle):
    with serve(bundle_path=clips_bundle) as client:
        ask(client, person_clip())
        ask(client, empty_clip())
        metrics = client.get("/metrics").text
    assert f'liveness_verdicts_total{{endpoint="{URL}",verdict="live"}} 1.0' in metrics
    assert f'liveness_undetermined_total{{endpoint="{URL}",reason="no_face"}} 1.0' in metrics
    assert f'liveness_score_count{{endpoint="{URL}"}} 1.0' in metrics
    assert f'liveness_requests_total{{endpoint="{URL}",status="200"}} 2.0' in metrics
    assert "liveness_batch_size_sum 8.0" in metrics


def test_the_model_says_that_it_scores_clips(clips, client):
    [model] = clips.get("/v1/models").json()["models"]
    assert model["clips"]["frames"] == 8
    assert set(model["clips"]["operating_points"]) == set(model["operating_points"])
    assert client.get("/v1/models").json()["models"][0]["clips"] is None


# --- what is not scored ---


def undetermined(client, content, **query):
    answer = ask(client, content, **query)
    assert (answer["verdict"], answer["score"], answer["frame_score"]) == ("undetermined", None, None)
    assert all(frame["score"] is None for frame in answer["frames"])
    return answer


def test_a_clip_without_a_face(clips):
    answer = undetermined(clips, empty_clip())
    assert answer["reasons"] == ["no_face"]
    assert answer["faces"] == []
    assert answer["clip"]["frames_used"] == 0
    assert {tuple(frame["reasons"]) for frame in answer["frames"]} == {("no_face",)}


@pytest.mark.slow  # tests/service/scoring/test_clip_cases.py asks it of real recordings
def test_a_face_that_leaves_the_picture(clips):
    answer = undetermined(clips, clip(one_after_the_other(person, nobody, each=40)))
    assert answer["reasons"] == ["too_few_frames", "no_face"]
    assert answer["clip"]["frames_used"] in (5, 6)
    assert answer["frames"][0]["reasons"] == []
    assert answer["frames"][-1]["reasons"] == ["no_face"]


@pytest.mark.slow
def test_a_moment_without_a_face_is_bridged_by_neighbours(clips):
    def blink(number):
        return nobody(number) if number in (18, 33) else person(number)

    answer = ask(clips, clip(blink))
    assert answer["verdict"] == "live"
    indices = [frame["index"] for frame in answer["frames"]]
    assert indices[2] in (17, 19, 20)
    assert indices[4] in (32, 34, 35)


@pytest.mark.slow  # a cut in another form
def test_a_cross_fade_to_another_face(clips):
    def other(number):
        return np.roll(somebody_else(number)[::-1], 40, axis=0)[::-1, :, [1, 2, 0]]

    def faded(number):
        share = np.clip((number - 35) / 15, 0, 1)
        return (person(number) * (1 - share) + other(number) * share).astype(np.uint8)

    assert undetermined(clips, clip(faded, seconds=3))["reasons"] == ["face_changed"]


def test_another_face_after_a_cut_is_told_with_its_two_instants(clips):
    answer = undetermined(clips, cut_clip())
    assert answer["reasons"] == ["face_changed"]
    assert answer["clip"]["frames_used"] == 8
    told = [frame for frame in answer["frames"] if frame["reasons"] == ["face_changed"]]
    assert [frame["index"] for frame in told] == [29, 30]
    assert all(frame["box"] is not None for frame in told)


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(lambda _: person(3), id="frozen", marks=pytest.mark.slow),
        pytest.param(lambda number: person(3 + 40 * (number % 2)), id="two frames in turn", marks=pytest.mark.slow),
        pytest.param(still, id="moved"),
        pytest.param(
            lambda number: np.clip(
                person(3) + np.random.default_rng(number).normal(0, 4, (240, 320, 3)), 0, 255
            ).astype(np.uint8),
            id="with noise",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "libx264"),
        pytest.param("webm", "libvpx", marks=pytest.mark.slow),
        pytest.param("avi", "mjpeg", marks=pytest.mark.slow),
    ],
)
def test_a_still_is_no_clip(clips, scene, kind, codec):
    answer = undetermined(clips, clip(scene, kind=kind, codec=codec))
    assert answer["reasons"] == ["static_clip"]
    assert {tuple(frame["reasons"]) for frame in answer["frames"]} == {("static_clip",)}


@pytest.mark.slow
def test_a_still_is_named_before_what_is_wrong_with_its_frames(clips):
    flat = clip(lambda number: still(number) // 4)
    assert undetermined(clips, flat)["reasons"] == ["static_clip", "too_blurry"]


@pytest.mark.slow
def test_two_unlike_stills_in_turn_are_static_and_changed(clips):
    answer = undetermined(clips, clip(lambda number: (person, somebody_else)[number // 3 % 2](0)))
    assert answer["reasons"] == ["static_clip", "face_changed"]


@pytest.mark.slow
def test_who_holds_still_is_no_still(clips):
    answer = ask(clips, clip(holding_still, seconds=3))
    assert "static_clip" not in answer["reasons"]


@pytest.mark.slow
def test_a_second_face_in_one_frame_alone(clips):
    answer = ask(
        clips, clip(lambda number: two_people(number) if number == 3 else np.roll(person(number), -70, axis=1))
    )
    assert "multiple_faces" not in answer["reasons"]


@pytest.mark.slow
def test_a_face_that_jumps(clips):
    def right(number):
        return np.roll(person(number), 90, axis=1)

    wide = clip(one_after_the_other(lambda n: np.roll(person(n), -80, axis=1), right, each=30))
    assert undetermined(clips, wide)["reasons"] == ["face_changed"]


@pytest.mark.slow  # tests/service/scoring/test_clip.py asks it of an obedient detector
def test_two_people(clips):
    content = clip(two_people)
    assert undetermined(clips, content)["reasons"] == ["multiple_faces"]
    assert ask(clips, content, faces="largest")["verdict"] == "live"


@pytest.mark.slow
def test_a_second_face_in_the_last_frames_alone(clips):
    content = clip(one_after_the_other(lambda n: np.roll(person(n), -70, axis=1), two_people, each=50))
    assert undetermined(clips, content)["reasons"] in (["multiple_faces"], ["face_changed"])


@pytest.mark.slow
def test_a_dark_clip(clips):
    answer = undetermined(clips, clip(lambda number: (person(number) * 0.1).astype(np.uint8)))
    assert set(answer["reasons"]) & {"too_dark", "no_face"}


@pytest.mark.parametrize("seconds", [1 / 30, 7 / 30, 0.4])
def test_a_short_clip(clips, seconds):
    answer = undetermined(clips, clip(seconds=seconds))
    assert answer["reasons"] == ["clip_too_short"]
    assert answer["frames"] == []


def test_a_clip_that_breaks_off_is_scored_on_what_is_left(clips):
    whole = clip(container_options={"movflags": "faststart"}, options={"g": "10"})
    left = ask(clips, whole[: len(whole) * 7 // 10])
    assert left["verdict"] == "live"
    assert 1.0 < left["clip"]["duration_s"] < 1.9
    answer = undetermined(clips, whole[: len(whole) * 3 // 10])
    assert set(answer["reasons"]) <= {"too_few_frames", "clip_too_short", "frame_unreadable"}
