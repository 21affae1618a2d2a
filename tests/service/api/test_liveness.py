import asyncio
import base64
import io
import math
import tempfile

import cv2
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from support.pictures import astronaut, encoded, no_face, two_faces

PHOTO = encoded(astronaut(), "PNG")
DARKER = encoded((astronaut() * 0.6).astype(np.uint8), "PNG")
URL = "/v1/liveness"


def as_form(content, name="photo.jpg", kind="image/jpeg"):
    return {"files": {"image": (name, content, kind)}}


def answer_of(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


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
    assert answer["image"] == {"width": 512, "height": 512}
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
    assert set(face["quality"]) == {"face_px", "sharpness", "brightness", "yaw_deg", "pitch_deg", "roll_deg"}
    assert face["quality"]["face_px"] == pytest.approx(90, abs=5)
    assert face["heatmap_png"] is None
    x1, y1, x2, y2 = face["box"]
    assert (x1, y1, x2, y2) == pytest.approx((178, 59, 268, 173), abs=6)
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


# --- bad bodies ---


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"files": {"photo": ("x.jpg", PHOTO)}}, "photo"),
        ({"files": [("image", PHOTO), ("image", PHOTO)]}, "exactly one"),
        ({"data": {"image": "aGVsbG8="}, "files": {"other": b"x"}}, "not text"),
        ({"files": {"Image": ("x.jpg", PHOTO)}}, "Image"),
    ],
    ids=["another field", "two files", "text", "capital"],
)
def test_a_form_without_the_one_file_is_a_wrong_parameter(client, problem_of, body, named):
    problem = problem_of(client.post(URL, **body), 422, "invalid_parameter")
    assert problem["detail"].startswith("image: ")
    assert named in problem["detail"]


FORM = "multipart/form-data; boundary=abc"
PART = b'--abc\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", PART + PHOTO + b"\r\n--abc--\r\n"),
        ("multipart/form-data; boundary=", PART + PHOTO + b"\r\n--abc--\r\n"),
        ('multipart/form-data; boundary="a\\"b"', PART + PHOTO + b"\r\n--abc--\r\n"),
        (FORM, b"this is no form"),
        (FORM, b""),
        (FORM, PART + PHOTO[:3000]),
        (FORM, PART[:30]),
        (FORM, b"--abc\r\nContent-Disposition: form-data\r\n\r\nx\r\n--abc--\r\n"),
        (FORM, b"--abc\r\n" + b"X-A: b\r\n" * 50 + b"\r\nx\r\n--abc--\r\n"),
        (FORM, b"".join(PART + b"x\r\n" for _ in range(5)) + b"--abc--\r\n"),
        (FORM, b'--abc\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 17 + b"--abc--\r\n"),
    ],
    ids=[
        "no boundary",
        "empty boundary",
        "quotes in it",
        "no form",
        "empty",
        "cut off in the file",
        "cut off in the header",
        "no name",
        "many headers",
        "many files",
        "many fields",
    ],
)
def test_a_malformed_form_is_named_as_such(client, problem_of, content_type, body):
    problem_of(client.post(URL, content=body, headers={"Content-Type": content_type}), 400, "malformed_body")


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "unicode_escape", "punycode", "zlib", "nonsense"])
def test_a_forms_charset_decides_nothing(client, problem_of, charset):
    part = PART.replace(b'"image"', b'"+2AA- \\ud800"')
    response = client.post(
        URL, content=part + PHOTO + b"\r\n--abc--\r\n", headers={"Content-Type": f"{FORM}; charset={charset}"}
    )
    assert "+2AA- " in problem_of(response, 422, "invalid_parameter")["detail"]
    form = {"content": PART + PHOTO + b"\r\n--abc--\r\n", "headers": {"Content-Type": f"{FORM}; charset={charset}"}}
    assert answer_of(client.post(URL, **form))["verdict"] == "live"


@pytest.mark.timeout(20)
def test_a_text_that_is_slow_to_decode_costs_nothing(client, problem_of):
    slow = b"a" * 400_000 + b"-" + b"a" * 400_000  # half a minute as punycode
    body = b'--abc\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + slow + b"\r\n--abc--\r\n"
    response = client.post(URL, content=body, headers={"Content-Type": f"{FORM}; charset=punycode"})
    problem_of(response, 422, "invalid_parameter")


def test_an_upload_needs_no_disk(client, monkeypatch):
    # A noisy picture, so that its file is larger than Starlette keeps in memory.
    noisy = astronaut().repeat(2, 0).repeat(2, 1) ^ np.random.default_rng(0).integers(0, 8, (1024, 1024, 3), np.uint8)
    content = encoded(noisy, "PNG")
    assert len(content) > 1_500_000
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert answer_of(client.post(URL, **as_form(content)))["verdict"] == "live"


def both_forms(content):
    return [{"content": content, "headers": {"Content-Type": "image/jpeg"}}, as_form(content)]


@pytest.mark.parametrize("form", [0, 1], ids=["body", "form"])
def test_what_is_no_image_gets_the_contracts_status_and_says_what_to_check(client, problem_of, form):
    def refused(content, status, code):
        return problem_of(client.post(URL, **both_forms(content)[form]), status, code)["detail"]

    assert "0 bytes" in refused(b"", 400, "empty_body")
    assert "text" in refused(b"hello world", 415, "unsupported_media")
    assert "GIF" in refused(encoded(astronaut(), "GIF"), 415, "unsupported_media")
    assert "truncated" in refused(encoded(astronaut())[:20_000], 400, "unreadable_media")
    assert "truncated" in refused(b"\xff\xd8\xff" + bytes(1000), 400, "unreadable_media")


def test_too_many_pixels(serve, problem_of, live_bundle):
    with serve(bundle_path=live_bundle, max_pixels=512 * 512) as client:
        assert answer_of(client.post(URL, content=PHOTO))["verdict"] == "live"
        taller = encoded(np.concatenate([astronaut(), astronaut()[:1]]), "PNG")
        problem = problem_of(client.post(URL, content=taller), 413, "too_many_pixels")
    assert "512x513" in problem["detail"]
    assert problem["limit"] == 512 * 512


def test_too_many_bytes(serve, problem_of, live_bundle):
    limit = len(PHOTO)
    with serve(bundle_path=live_bundle, max_upload_bytes=limit) as client:
        for body in both_forms(PHOTO):
            assert answer_of(client.post(URL, **body))["verdict"] == "live"
        for body in (*both_forms(PHOTO + b"\0"), as_form(PHOTO + bytes(100_000)), {"content": iter([PHOTO, b"\0"])}):
            problem = problem_of(client.post(URL, **body), 413, "too_many_bytes")
            assert problem["limit"] == limit
            assert "LIVENESS_MAX_UPLOAD_BYTES" in problem["detail"]


class Chunks:
    """An endless upload that counts what is taken of it."""

    def __init__(self, pause=0.0):
        self.taken = 0
        self.pause = pause

    async def __aiter__(self):
        while True:
            await asyncio.sleep(self.pause)
            self.taken += 1
            yield bytes(1024)


@pytest.mark.anyio
async def test_an_endless_upload_is_stopped_at_the_limit(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, max_upload_bytes=100 * 1024) as client:
        body = Chunks()
        problem_of(await client.post(URL, content=body), 413, "too_many_bytes")
        assert body.taken == 101
        form = Chunks()
        response = await client.post(URL, content=form, headers={"Content-Type": FORM})
        assert response.status_code in (400, 413)  # malformed from its first byte
        assert form.taken < 200


@pytest.mark.anyio
async def test_a_declared_length_is_refused_before_anything_is_read(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, max_upload_bytes=100 * 1024) as client:
        body = Chunks()
        response = await client.post(URL, content=body, headers={"Content-Length": "102401"})
        problem_of(response, 413, "too_many_bytes")
        assert body.taken == 0


@pytest.mark.anyio
async def test_a_wrong_operating_point_is_refused_before_anything_is_read(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle) as client:
        body = Chunks()
        problem_of(await client.post(URL + "?operating_point=lax", content=body), 422, "invalid_parameter")
        assert body.taken == 0


@pytest.mark.anyio
async def test_a_slow_upload_times_out_and_gives_its_place_back(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, upload_timeout_ms=200, max_inflight=1) as client:
        problem = problem_of(await client.post(URL, content=Chunks(pause=0.05)), 408, "upload_timeout")
        assert "0.2 s" in problem["detail"]
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"


@pytest.mark.anyio
async def test_past_the_deadline(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, deadline_ms=10) as client:
        problem_of(await client.post(URL, content=PHOTO), 504, "deadline_exceeded")


# --- load ---


class Held:
    """An upload that has begun and goes on when it is told to."""

    def __init__(self, content):
        self.content = content
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __aiter__(self):
        yield self.content[:100]
        self.begun.set()
        await self.go_on.wait()
        yield self.content[100:]


@pytest.mark.anyio
async def test_overload_is_refused_before_the_body_is_read_and_the_probes_still_answer(
    running, problem_of, live_bundle
):
    async with running(bundle_path=live_bundle, max_inflight=2) as client:
        uploads = [Held(PHOTO), Held(PHOTO)]
        accepted = [asyncio.create_task(client.post(URL, content=upload)) for upload in uploads]
        for upload in uploads:
            await upload.begun.wait()

        body = Chunks()
        refused = await client.post(URL, content=body)
        problem_of(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert body.taken == 0
        assert (await client.get("/health/live")).json() == {"status": "live"}
        assert (await client.get("/health/ready")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert "\nliveness_inflight_requests 2.0\n" in metrics
        assert '\nliveness_rejected_total{reason="overloaded"} 1.0\n' in metrics

        for upload in uploads:
            upload.go_on.set()
        assert [answer_of(await task)["verdict"] for task in accepted] == ["live", "live"]
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"


@pytest.mark.anyio
async def test_a_large_picture_does_not_hold_up_the_probes(running, live_bundle):
    large = encoded(np.tile(astronaut(), (8, 8, 1)), "JPEG")
    async with running(bundle_path=live_bundle) as client:
        scoring = asyncio.create_task(client.post(URL, content=large))
        answered = 0
        while not scoring.done():
            assert (await client.get("/health/live")).status_code == 200
            answered += 1
            await asyncio.sleep(0.01)
        assert answer_of(await scoring)["image"] == {"width": 4096, "height": 4096}
    assert answered >= 5


@pytest.mark.anyio
async def test_requests_that_overlap_are_each_answered_once_with_their_own_score(running, graded_bundle):
    async with running(bundle_path=graded_bundle) as client:
        bright, dark = [answer_of(await client.post(URL, content=content))["score"] for content in (PHOTO, DARKER)]
        answers = await asyncio.gather(*(client.post(URL, content=content) for content in [PHOTO, DARKER] * 6))
        scores = [answer_of(response)["score"] for response in answers]
        assert scores == pytest.approx([bright, dark] * 6, abs=1e-6)
        assert len({response.json()["request_id"] for response in answers}) == 12


@pytest.mark.anyio
async def test_a_client_that_hangs_up_is_not_worked_for(running, live_bundle):
    async with running(bundle_path=live_bundle, max_inflight=1, preparation_threads=1) as client:
        app = client._transport.app  # a client that goes away in the middle is beyond httpx
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": URL,
            "raw_path": URL.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"image/png")],
        }
        for messages in (
            [{"type": "http.request", "body": PHOTO[:100], "more_body": True}, {"type": "http.disconnect"}],
            [{"type": "http.request", "body": PHOTO, "more_body": False}, {"type": "http.disconnect"}],
        ):

            async def receive(left=messages):
                return left.pop(0)

            async def send(message):
                pass

            await asyncio.wait_for(app({**scope, "state": {}}, receive, send), 20)
        # The place is free, nobody was judged, and it is told apart from our faults.
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        samples = [
            (sample.name, sample.labels, sample.value)
            for family in families
            for sample in family.samples
            if sample.name in ("liveness_requests_total", "liveness_verdicts_total")
            and sample.labels["endpoint"] == URL
        ]
        assert sorted((name, labels.get("status") or labels["verdict"], value) for name, labels, value in samples) == [
            ("liveness_requests_total", "200", 1.0),
            ("liveness_requests_total", "499", 2.0),
            ("liveness_verdicts_total", "live", 1.0),
        ]


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


def test_without_a_model_there_is_no_verdict(serve, problem_of, fault):
    with serve(**fault.settings) as client:
        for body in both_forms(PHOTO):
            response = client.post(URL, **body)
            problem = problem_of(response, 503, "model_unavailable")
            assert problem["file"] == fault.file
            assert fault.reason in problem["reason"]
            assert response.headers["retry-after"]
