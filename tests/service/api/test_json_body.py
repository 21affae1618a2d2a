"""Files as base64 in a JSON object, as apps and low-code tools send them."""

import base64
import json

import pytest

from liveness_service.api.json_body import JsonBody
from liveness_service.errors import ServiceError, TooManyBytesError
from support.pictures import astronaut, encoded
from support.requests import PHOTO, URL, answer_of

SMALL = encoded(astronaut()[::16, ::16], "PNG")[:700]
BASE64 = base64.b64encode(PHOTO).decode()
JSON = {"Content-Type": "application/json"}


def posted(client, body, url=URL, **headers):
    return client.post(url, content=body, headers=JSON | headers)


def without_times(answer):
    return {name: value for name, value in answer.items() if name not in ("request_id", "timings_ms")}


def test_base64_and_data_urls_get_the_answer_of_the_file_itself(client):
    expected = without_times(answer_of(client.post(URL, content=PHOTO)))
    for text in (BASE64, f"data:image/jpeg;base64,{BASE64}", f"data:;BASE64,{BASE64}"):
        assert without_times(answer_of(client.post(URL, json={"image": text}))) == expected


def test_a_clip_too(serve, clip_bundle):
    from support.clips import person_clip

    clip = person_clip()
    with serve(bundle_path=clip_bundle.path) as client:
        body = json.dumps({"video": f"data:video/mp4;base64,{base64.b64encode(clip).decode()}"})
        told = [
            client.post("/v1/liveness/video", content=clip).json(),
            posted(client, body, "/v1/liveness/video").json(),
        ]
    assert without_times(told[0]) == without_times(told[1])
    assert len(told[0]["frames"]) == 8


def test_a_file_that_is_wrongly_declared_as_json_is_a_file(client):
    assert answer_of(posted(client, PHOTO))["verdict"] == "live"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"])
def test_json_may_be_declared_in_several_ways(client, kind):
    body = json.dumps({"image": BASE64})
    assert answer_of(client.post(URL, content=body, headers={"Content-Type": kind}))["verdict"] == "live"


def test_an_object_that_is_not_declared_is_told_how(client, problem_of):
    response = client.post(URL, content=json.dumps({"image": BASE64}), headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in problem_of(response, 415, "unsupported_media")["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        ("{}", 422, "invalid_parameter", "none"),
        ({"picture": BASE64}, 422, "invalid_parameter", "picture"),
        ({"image": BASE64, "operating_point": "eer"}, 422, "invalid_parameter", "query"),
        ({"image": BASE64, "video": BASE64}, 422, "invalid_parameter", "more than one"),
        ({"image": [BASE64]}, 422, "invalid_parameter", "base64"),
        ({"image": None}, 422, "invalid_parameter", "base64"),
        ({"image": {"data": BASE64}}, 422, "invalid_parameter", "base64"),
        ({"image": ""}, 400, "empty_body", "0 bytes"),
        ({"image": "hello world!"}, 400, "malformed_body", "not base64"),
        ({"image": BASE64[:50_000] + "!" + BASE64}, 400, "malformed_body", "not base64"),
        ({"image": BASE64 + "A" * (5 - len(BASE64) % 4)}, 400, "malformed_body", "not base64"),
        ({"image": BASE64[:40_001] + "=" + BASE64}, 400, "malformed_body", "not base64"),
        ({"image": "data:image/jpeg," + BASE64}, 400, "malformed_body", "data URL without base64"),
        ({"image": "https://example.com/photo.jpg"}, 415, "unsupported_media", "fetches nothing"),
        ({"image": base64.b64encode(b"hello world").decode()}, 415, "unsupported_media", "text"),
        ('{"image": "' + BASE64, 400, "malformed_body", "JSON"),
        ('{"image": "' + BASE64 + '"', 400, "malformed_body", "JSON"),
        ('{"image": "\\x", "a": "' + BASE64, 400, "malformed_body", "escape"),
        ('{"image": ' + "[" * 4_000, 400, "malformed_body", "JSON"),
        ('{"image": ' + "[" * 5_000, 400, "malformed_body", "4,096"),
        ('{"":"",' * 5_000, 400, "malformed_body", "4,096"),
    ],
)
def test_anything_else_says_what_to_send(client, problem_of, body, status, code, named):
    response = posted(client, body if isinstance(body, str) else json.dumps(body))
    assert named in problem_of(response, status, code)["detail"]


def test_the_limit_is_on_the_file_and_not_on_its_text(serve, problem_of, live_bundle):
    for excess, status in ((0, 200), (1, 413)):
        with serve(bundle_path=live_bundle, max_upload_bytes=len(PHOTO) - excess) as client:
            response = client.post(URL, json={"image": BASE64})
            assert response.status_code == status
    assert problem_of(response, 413, "too_many_bytes")["limit"] == len(PHOTO) - 1


@pytest.mark.anyio
async def test_a_text_without_end_is_stopped_at_the_limit(running, problem_of, live_bundle):
    taken = 0

    async def endless():
        nonlocal taken
        yield b'{"image": "'
        while True:
            taken += 1
            yield b"A" * 1024

    async with running(bundle_path=live_bundle, max_upload_bytes=96 * 1024) as client:
        problem_of(await client.post(URL, content=endless(), headers=JSON), 413, "too_many_bytes")
        assert 128 <= taken <= 130  # four characters are three bytes
        metrics = (await client.get("/metrics")).text
        assert "\nliveness_held_bytes 0.0\n" in metrics


def decoded(body: bytes, piece: int) -> bytes:
    reader = JsonBody("image", TooManyBytesError("too large", limit=1 << 20), 1 << 20)
    for at in range(0, len(body), piece):
        reader.feed(body[at : at + piece])
    return reader.finish()


def written(content: bytes, **how) -> bytes:
    return json.dumps({"image": base64.b64encode(content).decode()}, **how).encode()


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 1000, 1 << 20])
@pytest.mark.parametrize("content", [SMALL, SMALL[:-1], SMALL[:-2], PHOTO[:6_001]], ids=len)
def test_it_does_not_matter_how_others_write_it_or_where_it_is_cut(content, piece):
    plain = written(content)
    lines = base64.encodebytes(content).decode()
    for body in (
        plain,
        b"\xef\xbb\xbf \r\n" + written(content, indent=2),
        plain.replace(b"/", rb"\/"),  # PHP
        plain.replace(b"+", rb"\u002B"),  # .NET
        plain.replace(b"=", b""),  # without padding
        plain.replace(b"+", b"-").replace(b"/", b"_"),  # base64 for URLs
        json.dumps({"image": lines}).encode(),  # MIME's line breaks
        json.dumps({"image": lines.replace("\n", "\r\n")}).encode(),
        b'{"image": "data:image/png;name=a%20b.png;base64,' + base64.b64encode(content) + b'"}',
    ):
        assert decoded(body, piece) == content


def test_the_placeholder_of_the_file_cannot_be_forged(client):
    for text in ("file-", "file-" + "0" * 32):
        with pytest.raises(ServiceError):
            decoded(json.dumps({"image": text, "x": BASE64[:5000]}).encode(), 100)
