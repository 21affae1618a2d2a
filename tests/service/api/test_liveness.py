import base64
import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from liveness_service.api.schemas import LivenessQuery
from liveness_service.submission import FacePolicy, ScoreOptions
from support.faulty_bundles import SOME_FAULTS
from support.pictures import astronaut, encoded, no_face, two_faces
from support.requests import DARKER, PHOTO, URL, answer_of, as_form, both_forms


@pytest.fixture(scope="module")
def graded(serve, graded_bundle):
    with serve(bundle_path=graded_bundle) as client:
        yield client


# --- the answer ---


def test_the_answer_has_every_field_of_the_contract(client):
    answer = answer_of(client.post(URL, content=PHOTO, headers={"Content-Type": "image/png"}))
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
    }
    assert answer["verdict"] == "live"
    assert answer["reasons"] == []
    assert 0.98 < answer["score"] <= 1
    assert (answer["threshold"], answer["operating_point"]) == (0.5, "eer")
    assert answer["image"] == {"width": 256, "height": 256}
    assert answer["model"] == {"name": "tiny", "version": "1"}
    assert set(answer["timings_ms"]) == {"decode", "detect", "align", "queue", "infer", "total"}
    assert all(value >= 0 for value in answer["timings_ms"].values())
    [face] = answer["faces"]
    assert set(face) == {
        "box",
        "landmarks",
        "detection_confidence",
        "score",
        "verdict",
        "reasons",
        "quality",
        "heatmap_png",
    }
    assert (face["score"], face["verdict"], face["reasons"]) == (answer["score"], "live", [])
    angles = {"yaw_deg", "pitch_deg", "roll_deg"}
    measured = {"face_px", "sharpness", "brightness", "noise", "grain", "blockiness", *angles}
    assert set(face["quality"]) == measured
    assert face["quality"]["face_px"] == pytest.approx(90, abs=5)
    assert face["heatmap_png"] is None
    x1, y1, x2, y2 = face["box"]
    assert (x1, y1, x2, y2) == pytest.approx((82, 59, 172, 173), abs=6)
    assert len(face["landmarks"]) == 5
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face["landmarks"])
    assert 0.9 < face["detection_confidence"] <= 1


def test_an_answer_is_not_kept_by_caches(client):
    assert client.post(URL, content=PHOTO).headers["cache-control"] == "no-store"


def without_what_varies(answer):
    return {name: value for name, value in answer.items() if name not in ("request_id", "timings_ms")}


@pytest.mark.parametrize(
    "request_of",
    [
        as_form,
        lambda content: as_form(content, name="notes.txt", kind="text/plain"),
        lambda content: as_form(content) | {"data": {"comment": "a second field"}},
        lambda content: {"content": content, "headers": {"Content-Type": "image/webp"}},
        lambda content: {"content": content, "headers": {"Content-Type": "application/octet-stream"}},
        lambda content: {"content": content, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        lambda content: {"content": iter([content[:1000], b"", content[1000:]])},
    ],
    ids=["form", "form, named as text", "form with another field", "wrong type", "no type", "curl's type", "chunked"],
)
def test_every_form_of_body_gives_the_same_answer(client, request_of):
    reference = answer_of(client.post(URL, content=PHOTO, headers={"Content-Type": "image/png"}))
    answer = answer_of(client.post(URL, **request_of(PHOTO)))
    assert without_what_varies(answer) == without_what_varies(reference)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_kind_of_image_is_scored(client, kind):
    answer = answer_of(client.post(URL, **as_form(encoded(astronaut(), kind))))
    assert answer["verdict"] == "live"
    assert answer["faces"][0]["box"] == pytest.approx([178, 59, 268, 173], abs=6)


def test_the_bundle_decides(serve, spoof_bundle):
    with serve(bundle_path=spoof_bundle) as client:
        answer = answer_of(client.post(URL, content=PHOTO))
    assert (answer["verdict"], answer["reasons"], answer["faces"][0]["verdict"]) == ("spoof", [], "spoof")
    assert answer["score"] < 0.02


def test_a_photo_held_sideways_gives_the_coordinates_of_the_upright_one(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.ascontiguousarray(astronaut()[:300])
    upright = answer_of(client.post(URL, content=encoded(wide, "PNG")))
    stored = encoded(np.ascontiguousarray(np.rot90(wide)), "PNG", exif=exif)
    turned = answer_of(client.post(URL, content=stored))
    assert turned["image"] == {"width": 512, "height": 300}
    assert turned["verdict"] == "live"
    assert without_what_varies(turned) == without_what_varies(upright)


# --- several faces ---


def test_two_faces_are_undetermined_by_default(client):
    for query in ("", "?faces=single"):
        answer = answer_of(client.post(URL + query, content=encoded(two_faces(), "PNG")))
        assert (answer["verdict"], answer["reasons"], answer["score"]) == ("undetermined", ["multiple_faces"], None)
        assert len(answer["faces"]) == 2
        assert {face["score"] for face in answer["faces"]} == {None}


def test_the_largest_of_two_faces_is_scored(graded):
    small = cv2.resize(astronaut(), (384, 384), interpolation=cv2.INTER_AREA)
    canvas = np.full((512, 896, 3), 128, np.uint8)
    canvas[:384, :384], canvas[:, 384:] = small, astronaut()
    answer = answer_of(graded.post(URL + "?faces=largest", content=encoded(canvas, "PNG")))
    [face] = answer["faces"]
    assert face["box"] == pytest.approx([178 + 384, 59, 268 + 384, 173], abs=6)
    assert answer["score"] == face["score"] is not None


def test_of_all_faces_the_least_live_decides(graded):
    pair = np.concatenate([astronaut(), (astronaut() * 0.6).astype(np.uint8)], axis=1)
    answer = answer_of(graded.post(URL + "?faces=all", content=encoded(pair, "PNG")))
    bright, dark = sorted(answer["faces"], key=lambda face: face["box"][0])
    assert (bright["verdict"], dark["verdict"]) == ("live", "spoof")
    assert (answer["verdict"], answer["score"]) == ("spoof", dark["score"])
    assert dark["score"] < 0.5 < bright["score"]


def test_more_faces_than_the_limit_are_undetermined(serve, live_bundle):
    with serve(bundle_path=live_bundle, max_faces=1) as client:
        answer = answer_of(client.post(URL + "?faces=all", content=encoded(two_faces(), "PNG")))
        assert (answer["verdict"], answer["reasons"], answer["score"]) == ("undetermined", ["too_many_faces"], None)
        assert answer_of(client.post(URL + "?faces=all", content=PHOTO))["verdict"] == "live"


# --- refusals ---


def turned(picture, degrees):
    matrix = cv2.getRotationMatrix2D((225, 115), degrees, 1)
    return cv2.warpAffine(picture, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no_face", lambda picture: no_face()),
        ("no_face", lambda picture: picture[:1, :1]),
        ("no_face", lambda picture: np.zeros_like(picture)),
        ("face_too_small", lambda picture: cv2.resize(picture, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)),
        ("face_cut_off", lambda picture: picture[:, 220:]),
        ("too_dark", lambda picture: (picture * 0.1).astype(np.uint8)),
        ("too_blurry", lambda picture: cv2.GaussianBlur(picture, (0, 0), 5)),
        ("extreme_pose", lambda picture: turned(picture, 50)),
    ],
    ids=["no face", "one pixel", "black", "small", "cut off", "dark", "blurred", "turned"],
)
def test_a_picture_that_cannot_be_judged_is_an_answer_without_a_score(client, reason, change):
    picture = np.ascontiguousarray(change(astronaut()))
    answer = answer_of(client.post(URL, content=encoded(picture, "PNG")))
    assert answer["verdict"] == "undetermined"
    assert reason in answer["reasons"]
    assert answer["score"] is None
    assert all(face["score"] is None and face["verdict"] == "undetermined" for face in answer["faces"])
    assert len(answer["faces"]) == (0 if reason == "no_face" else 1)


# --- parameters ---


def test_explain_adds_a_heat_map_and_changes_no_score(client):
    plain = answer_of(client.post(URL + "?explain=false", content=PHOTO))
    explained = answer_of(client.post(URL + "?explain=true", content=PHOTO))
    assert plain["faces"][0]["heatmap_png"] is None
    with Image.open(io.BytesIO(base64.b64decode(explained["faces"][0]["heatmap_png"], validate=True))) as heatmap:
        assert (heatmap.format, heatmap.size, heatmap.mode) == ("PNG", (224, 224), "RGB")
        heatmap.load()
    assert explained["score"] == pytest.approx(plain["score"], abs=1e-6)


@pytest.mark.parametrize("place", ["name", "value"])
def test_a_picture_sent_as_a_parameter_is_not_repeated(client, place):
    content = PHOTO[:500].decode("latin-1")
    query = {content: "1"} if place == "name" else {"operating_point": content}
    answer = client.post(URL, content=PHOTO, params=query)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.isascii() or detail.replace("…", "").isascii()
    assert len(detail) < 200


def test_a_stricter_operating_point_turns_live_into_spoof(client):
    answer = answer_of(client.post(URL + "?operating_point=strict", content=PHOTO))
    assert (answer["operating_point"], answer["threshold"]) == ("strict", 0.9999)
    assert answer["verdict"] == answer["faces"][0]["verdict"] == "spoof"
    assert answer["score"] == pytest.approx(answer_of(client.post(URL, content=PHOTO))["score"], abs=1e-6)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("operating_point=lax", ["operating_point", "'lax'", "eer", "strict"]),
        ("operating_point=", ["operating_point", "''", "eer", "strict"]),
        ("operatingpoint=strict", ["operatingpoint"]),
        ("threshold=0.1", ["threshold"]),
        ("faces=both", ["faces", "single", "largest", "all"]),
        ("explain=perhaps", ["explain"]),
        ("operating_point=" + "x" * 101, ["operating_point", "100"]),
        ("operating_point=%ED%A0%80%00", ["operating_point"]),
    ],
)
def test_a_wrong_parameter_is_named(client, problem_of, query, named):
    problem = problem_of(client.post(f"{URL}?{query}", content=PHOTO), 422, "invalid_parameter")
    for word in named:
        assert word in problem["detail"]


# --- the model fails ---


def test_a_score_that_is_not_a_number_is_no_answer_and_the_next_request_is_scored(serve, problem_of, fragile_bundle):
    with serve(bundle_path=fragile_bundle) as client:
        for _ in range(2):
            response = client.post(URL, content=PHOTO)
            problem_of(response, 503, "scoring_failed")
            assert response.headers["retry-after"]
            answer = answer_of(client.post(URL, content=DARKER))
            assert answer["verdict"] == "spoof"
            assert math.isfinite(answer["score"])


@pytest.mark.parametrize("fault", SOME_FAULTS, indirect=True)
def test_without_a_model_there_is_no_verdict(serve, problem_of, fault):
    with serve(**fault.settings) as client:
        for body in both_forms(PHOTO):
            response = client.post(URL, **body)
            problem = problem_of(response, 503, "model_unavailable")
            assert problem["file"] == fault.file
            assert fault.reason in problem["reason"]
            assert response.headers["retry-after"]


def test_without_parameters_the_defaults_are_asked_for():
    assert LivenessQuery().options() == ScoreOptions(None, FacePolicy.SINGLE, explain=False)


def test_parameters_arrive_as_they_are_meant():
    query = LivenessQuery.model_validate({"operating_point": "apcer5", "faces": "all", "explain": "true"})
    assert query.options() == ScoreOptions("apcer5", FacePolicy.ALL, explain=True)


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False"])
def test_the_word_false_is_false(text):
    assert LivenessQuery.model_validate({"explain": text}).options().explain is False


@pytest.mark.parametrize(
    "wrong", [{"faces": "none"}, {"explain": "maybe"}, {"expalin": "true"}, {"operating_point": "x" * 101}]
)
def test_a_wrong_parameter_is_refused(wrong):
    with pytest.raises(ValidationError):
        LivenessQuery.model_validate(wrong)
