import asyncio
import gzip
import tempfile

import numpy as np
import pytest

from liveness_service.api import upload
from support import bombs
from support.pictures import astronaut, encoded
from support.requests import PHOTO, URL, Chunks, answer_of, as_form, both_forms


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"files": {"photo": ("x.jpg", PHOTO)}}, "photo"),
        ({"files": [("image", PHOTO), ("image", PHOTO)]}, "exactly one"),
        ({"data": {"text": "aGVsbG8="}, "files": {"other": b"x"}}, "other, text"),
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


@pytest.mark.parametrize(
    "parts",
    [
        (PART + b"x\r\n") * 4,
        b'--abc\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 16,
    ],
    ids=["files", "fields"],
)
def test_as_many_parts_as_a_form_may_have_are_read_and_said_to_be_wrong(client, problem_of, parts):
    # One more of either is malformed, see above.
    answer = client.post(URL, content=parts + b"--abc--\r\n", headers={"Content-Type": FORM})
    assert "the form must have exactly one field" in problem_of(answer, 422, "invalid_parameter")["detail"]


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
    assert "text" in problem_of(response, 415, "unsupported_media")["detail"]


NAMELESS = {
    "no file name": b'form-data; name="image"',
    "no quotes": b"form-data; name=image",
    "the extended name alone": b"form-data; name=image; filename*=utf-8''photo%20%C3%BC.jpg",
    "both names": b'form-data; name="image"; filename="x.jpg"; filename*=utf-8\'\'x.jpg',
    "an empty name": b'form-data; name="image"; filename=""',
    "a path": b'form-data; name="image"; filename="C:\\photos\\x.jpg"',
}


@pytest.mark.parametrize("disposition", NAMELESS.values(), ids=NAMELESS)
def test_a_part_needs_no_file_name_to_be_the_file(client, disposition):
    headers = b"Content-Type: image/jpeg\r\nContent-Disposition: " + disposition
    body = b"--abc\r\n" + headers + b"\r\n\r\n" + PHOTO + b"\r\n--abc--\r\n"
    assert answer_of(client.post(URL, content=body, headers={"Content-Type": FORM}))["verdict"] == "live"


def test_a_part_without_a_file_name_has_the_same_limit(serve, problem_of, live_bundle):
    large = PHOTO + bytes(1_400_000)
    with serve(bundle_path=live_bundle, max_upload_bytes=len(large)) as client:
        for content, status in ((large, 200), (large + b"\0", 413)):
            body = b'--abc\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + content + b"\r\n--abc--\r\n"
            response = client.post(URL, content=body, headers={"Content-Type": FORM})
            assert response.status_code == status
        assert problem_of(response, 413, "too_many_bytes")["limit"] == len(large)


def test_a_compressed_body_is_refused_with_advice(client, problem_of):
    for coding in ("gzip", "br, gzip"):
        headers = {"Content-Encoding": coding}
        response = client.post(URL, content=gzip.compress(PHOTO), headers=headers)
        assert coding in problem_of(response, 415, "unsupported_encoding")["detail"]
        assert response.headers["accept-encoding"] == "identity"
    identity = client.post(URL, content=PHOTO, headers={"Content-Encoding": "identity"})
    assert answer_of(identity)["verdict"] == "live"


def test_an_upload_needs_no_disk(client, monkeypatch):
    # A noisy picture, so that its file is larger than Starlette keeps in memory.
    noisy = astronaut().repeat(2, 0).repeat(2, 1) ^ np.random.default_rng(0).integers(0, 8, (1024, 1024, 3), np.uint8)
    content = encoded(noisy, "PNG")
    assert len(content) > 1_500_000
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert answer_of(client.post(URL, **as_form(content)))["verdict"] == "live"


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


def test_too_many_scans(serve, problem_of, live_bundle):
    with serve(bundle_path=live_bundle, max_scans=20) as client:
        assert answer_of(client.post(URL, content=bombs.jpeg_scans(512, 512, 20)))["reasons"] == ["no_face"]
        problem = problem_of(client.post(URL, content=bombs.jpeg_scans(512, 512, 21)), 413, "too_many_scans")
    assert "LIVENESS_MAX_SCANS" in problem["detail"]
    assert problem["limit"] == 20


def test_too_many_bytes(serve, problem_of, live_bundle):
    limit = len(PHOTO)
    with serve(bundle_path=live_bundle, max_upload_bytes=limit) as client:
        for body in both_forms(PHOTO):
            assert answer_of(client.post(URL, **body))["verdict"] == "live"
        for body in (*both_forms(PHOTO + b"\0"), as_form(PHOTO + bytes(100_000)), {"content": iter([PHOTO, b"\0"])}):
            problem = problem_of(client.post(URL, **body), 413, "too_many_bytes")
            assert problem["limit"] == limit
            assert "LIVENESS_MAX_UPLOAD_BYTES" in problem["detail"]


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
    async with running(bundle_path=live_bundle, upload_timeout_ms=200, max_uploads=1) as client:
        problem = problem_of(await client.post(URL, content=Chunks(pause=0.05)), 408, "upload_timeout")
        assert "0.2 s" in problem["detail"]
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"


@pytest.mark.anyio
@pytest.mark.parametrize("form", [False, True], ids=["body", "form"])
async def test_an_upload_that_drips_is_not_waited_for(running, problem_of, live_bundle, monkeypatch, form):
    monkeypatch.setattr(upload, "_FREE_S", 0.1)
    headers = {"Content-Type": FORM} if form else {}
    pieces = [PART, PHOTO[:1000], PHOTO[1000:], b"\r\n--abc--\r\n"] if form else [PHOTO[:1000], PHOTO[1000:]]

    async def slow(pause):
        for piece in pieces:
            await asyncio.sleep(pause)
            yield piece

    # A kilobyte may take a tenth of a second and what it buys: a second at 1,000 bytes a second.
    async with running(bundle_path=live_bundle, min_upload_rate=1_000) as client:
        problem = problem_of(await client.post(URL, content=slow(5), headers=headers), 408, "upload_timeout")
        assert "1,000 bytes a second" in problem["detail"]
        assert answer_of(await client.post(URL, content=slow(0.02), headers=headers))["verdict"] == "live"
    async with running(bundle_path=live_bundle, min_upload_rate=0) as client:
        assert answer_of(await client.post(URL, content=slow(0.5), headers=headers))["verdict"] == "live"


@pytest.mark.anyio
async def test_uploads_hold_only_so_many_bytes(running, problem_of, live_bundle):
    half = len(PHOTO)  # one client may hold half of the limit
    async with running(bundle_path=live_bundle, max_held_bytes=2 * half) as client:
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"
    async with running(bundle_path=live_bundle, max_held_bytes=2 * half - 2) as client:
        body = Chunks()
        response = await client.post(URL, content=body, headers={"Content-Length": str(half)})
        assert "LIVENESS_MAX_HELD_BYTES" in problem_of(response, 429, "too_many_at_once")["detail"]
        assert body.taken == 0
        endless = Chunks()
        problem_of(await client.post(URL, content=endless), 429, "too_many_at_once")
        assert endless.taken == half // 1024 + 1
        metrics = (await client.get("/metrics")).text
        assert "\nliveness_held_bytes 0.0\n" in metrics
        assert "\nliveness_uploads 0.0\n" in metrics


@pytest.mark.anyio
async def test_past_the_deadline(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, deadline_ms=10) as client:
        problem_of(await client.post(URL, content=PHOTO), 504, "deadline_exceeded")
