"""Both Python clients against a real service, and against a server that answers as it is told to."""

import asyncio
import contextlib
import io
import re
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import liveness_client.client
from liveness_client import (
    AsyncLivenessClient,
    ConnectionFailedError,
    LivenessClient,
    PhotoAnswer,
    SessionState,
    UnexpectedAnswerError,
    Verdict,
    problems,
)
from liveness_client.media import content_of
from support.clips import person_clip
from support.pictures import astronaut, encoded, no_face
from support.requests import make_keys
from support.scripted import Scripted
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

KEYS, ENTRIES = make_keys(backend="score")
KEY = KEYS["backend"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A real service that scores photos and clips and asks for a key, and files to send it."""
    folder = tmp_path_factory.mktemp("client")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    (folder / "photo.jpg").write_bytes(encoded(astronaut()))
    (folder / "clip.mp4").write_bytes(person_clip())
    with running_server(folder, bundle_path=str(folder / "tiny"), api_keys=ENTRIES, workers="0") as server:
        yield server.url, folder


class Blocking:
    """The asyncio client, called like the other one: one loop for each call, so that both pass the same tests."""

    def __init__(self, *arguments, **options):
        self._make = lambda: AsyncLivenessClient(*arguments, **options)

    def __getattr__(self, name):
        async def call(*arguments, **options):
            async with self._make() as client:
                return await getattr(client, name)(*arguments, **options)

        return lambda *arguments, **options: asyncio.run(call(*arguments, **options))


@pytest.fixture(params=[LivenessClient, Blocking], ids=["sync", "async"])
def make(request):
    """Makes a client of either kind, and closes it."""
    with contextlib.ExitStack() as stack:

        def made(*arguments, **options):
            client = request.param(*arguments, **options)
            return client if request.param is Blocking else stack.enter_context(client)

        yield made


def test_a_photo_is_scored_however_it_is_given(service, make):
    url, folder = service
    liveness = make(url + "/", KEY)
    path = folder / "photo.jpg"
    with path.open("rb") as file:
        answers = [liveness.photo(each) for each in (path, str(path), path.read_bytes(), file, astronaut())]
    for answer in answers:
        assert isinstance(answer, PhotoAnswer)
        assert (answer.verdict, answer.is_live, answer.reasons, answer.model) == (Verdict.LIVE, True, (), "tiny 1")
        assert (answer.width, answer.height, len(answer.faces)) == (512, 512, 1)
        assert answer.score > answer.threshold
        assert answer.raw["request_id"] == answer.request_id
        assert answer.faces[0].quality["face_px"] > 50
    explained = liveness.photo(path, operating_point="strict", faces="largest", explain=True)
    assert (explained.operating_point, len(explained.faces[0].heatmap_png) > 100) == ("strict", True)
    nobody = liveness.photo(no_face())
    assert (nobody.verdict, nobody.is_live, nobody.score, nobody.reasons) == ("undetermined", False, None, ("no_face",))
    assert liveness.reasons()["no_face"].advice.startswith("Look into the camera")
    assert "strict" in str(liveness.models())


def test_a_clip_has_its_frames(service, make):
    url, folder = service
    answer = make(url, KEY).clip(folder / "clip.mp4")
    assert (answer.verdict, len(answer.frames), answer.frames_used) == (Verdict.LIVE, 8, 8)
    assert answer.frames[0].box[2] > answer.frames[0].box[0]
    assert answer.fps > 1


def test_a_session_goes_from_the_back_end_to_the_browser_and_back(service, make):
    url, folder = service
    back_end, browser = make(url, KEY), make(url)
    session = back_end.open_session("photo", operating_point="strict", ttl_s=60)
    assert session.token not in repr(session)
    assert back_end.read_session(session.session_id).state is SessionState.WAITING
    assert browser.upload_to_session(session.session_id, session.token, folder / "photo.jpg") is None
    with pytest.raises(problems.SessionUsedError):
        browser.upload_to_session(session.session_id, session.token, folder / "photo.jpg")
    outcome = back_end.read_session(session.session_id)
    assert (outcome.state, outcome.result.operating_point, outcome.is_live) == ("scored", "strict", False)
    assert outcome.result.verdict is Verdict.SPOOF  # that threshold is above what this bundle gives
    with pytest.raises(problems.SessionReadError):
        back_end.read_session(session.session_id)
    clip = back_end.open_session("clip")
    browser.upload_to_session(clip.session_id, clip.token, folder / "clip.mp4")
    outcome = back_end.read_session(clip.session_id)
    assert (outcome.is_live, len(outcome.result.frames)) == (True, 8)
    broken = back_end.open_session()
    with pytest.raises(problems.UnsupportedMediaError):
        browser.upload_to_session(broken.session_id, broken.token, b"hello")
    outcome = back_end.read_session(broken.session_id)
    assert (outcome.state, outcome.is_live, outcome.problem["code"]) == ("failed", False, "unsupported_media")
    with pytest.raises(problems.SessionNotFoundError):
        back_end.read_session("0" * 32)
    with pytest.raises(problems.NotFoundError):
        back_end.read_session("../models")  # leads nowhere else


def test_each_refusal_is_its_own_exception(service, make):
    url, _ = service
    with pytest.raises(problems.UnauthorizedError):
        make(url).photo(b"x")
    with pytest.raises(problems.UnsupportedMediaError) as raised:
        make(url, KEY).photo(b"hello")
    error = raised.value
    assert (error.status, error.code, error.retry_after_s) == (415, "unsupported_media", None)
    assert error.request_id
    assert error.detail in str(error)
    with pytest.raises(problems.InvalidParameterError, match="operating_point"):
        make(url, KEY).photo(b"x", operating_point="none of them")
    with pytest.raises(problems.NotFoundError):
        make(url + "/elsewhere", KEY).reasons()


def test_pixels_are_sent_without_loss_and_what_is_no_picture_is_not_sent():
    colour = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    for pixels in (colour, colour[..., 0], colour[::-1, ::2]):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content_of(pixels)))), pixels)
    for wrong in (colour.astype(np.float32), colour[:0], colour[..., :2], np.zeros((1, 2, 3, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8 is needed"):
            content_of(wrong)
    with pytest.raises(TypeError, match="mode 'rb'"):
        content_of(io.StringIO("text"))
    with pytest.raises(TypeError, match="a dict"):
        content_of({})
    with pytest.raises(ValueError, match="no address"):
        LivenessClient("liveness.example.com")


@pytest.fixture
def scripted():
    with contextlib.ExitStack() as stack:

        def start(*answers, **more):
            made = Scripted(*answers, **more)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def pauses(monkeypatch):
    """What the clients would have waited, in seconds; they do not wait."""
    waited = []
    monkeypatch.setattr(liveness_client.client.time, "sleep", waited.append)

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(liveness_client.client.asyncio, "sleep", sleep)
    return waited


REASONS = (200, {}, {"reasons": [{"reason": "no_face", "text": "t", "advice": "a", "newer": 1}], "newer": 2})
SCORED = (202, {}, {"session_id": "s", "state": "scored"})


def busy(seconds, status=503, **members):
    return status, {"Retry-After": str(seconds)}, {"code": "overloaded", "detail": "busy"} | members


def test_what_the_service_puts_off_is_sent_again_when_it_says(make, scripted, pauses):
    server = scripted(busy(7), busy(3, status=429, code="rate_limited"), busy(0), REASONS)
    assert make(server.url, KEY).reasons()["no_face"].advice == "a"
    assert len(server.asked) == 4
    assert pauses == [7, 3, pytest.approx(0.8)]  # what the service says, and at least the pause of this try


def test_what_it_puts_off_for_too_long_is_an_error_at_once(make, scripted, pauses):
    server = scripted(busy(21, status=429, code="rate_limited"))
    with pytest.raises(problems.RateLimitedError) as raised:
        make(server.url, KEY, timeout_s=20).reasons()
    assert (raised.value.retry_after_s, pauses, len(server.asked)) == (21, [], 1)


@pytest.mark.parametrize(
    "answer",
    [(503, {}, b"<html>"), (500, {}, {"code": "internal_error"}), (504, {"Retry-After": "1"}, {}), None],
    ids=["no Retry-After", "500", "504", "broken off"],
)
def test_what_may_have_been_done_is_not_asked_again(make, scripted, pauses, answer):
    server = scripted(answer, REASONS)
    with pytest.raises(liveness_client.LivenessError) as raised:
        make(server.url, KEY).photo(b"x")
    assert (len(server.asked), pauses) == (1, [])
    if answer is None:
        assert isinstance(raised.value, ConnectionFailedError)
        assert "not known" in str(raised.value)


def test_a_token_is_sent_again_only_while_its_session_waits(make, scripted, pauses):
    server = scripted(busy(1, session_state="waiting"), SCORED)
    make(server.url, KEY).upload_to_session("s", "lvs1_token", b"file")
    assert len(server.asked) == 2
    for path, headers, body in server.asked:
        assert (path, headers["Authorization"], body) == ("/v1/sessions/s/upload", "Bearer lvs1_token", b"file")
        assert KEY not in str(headers)
    server = scripted(busy(1, session_state="failed"), SCORED)
    with pytest.raises(problems.OverloadedError):
        make(server.url).upload_to_session("s", "lvs1_token", b"file")
    server_broken = scripted(None, SCORED)
    with pytest.raises(ConnectionFailedError):
        make(server_broken.url).upload_to_session("s", "lvs1_token", b"file")
    assert (len(server.asked), len(server_broken.asked)) == (1, 1)


def test_where_nobody_listens_it_tries_until_somebody_does_or_its_time_is_over(make, scripted, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, started = f"http://127.0.0.1:{port}", []

    def wake(_seconds):
        if not started:
            started.append(scripted(SCORED, port=port))

    async def wake_later(seconds):
        wake(seconds)

    with pytest.raises(ConnectionFailedError) as raised:
        make(url, timeout_s=0.1).upload_to_session("s", "t", b"file")
    assert raised.value.before_sending
    monkeypatch.setattr(liveness_client.client.time, "sleep", wake)
    monkeypatch.setattr(liveness_client.client.asyncio, "sleep", wake_later)
    make(url).upload_to_session("s", "t", b"file")
    assert len(started[0].asked) == 1


def test_an_answer_that_does_not_come_ends_with_the_calls_time(make):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(ConnectionFailedError) as raised:
            make(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2).reasons()
        assert not raised.value.before_sending


def test_what_a_newer_service_says_is_read_and_never_taken_for_a_pass(service, make, scripted):
    url, folder = service
    raw = dict(
        httpx.post(f"{url}/v1/liveness", content=(folder / "photo.jpg").read_bytes(), headers={"X-API-Key": KEY}).json()
    )
    newer = raw | {"verdict": "probably", "reasons": ["too_green"], "more": {"x": 1}}
    server = scripted((200, {}, newer), (200, {}, {"verdict": "live"}), (200, {}, b"<html>welcome</html>"))
    answer = make(server.url).photo(b"x")
    assert (answer.verdict, answer.is_live, answer.reasons) == (Verdict.UNDETERMINED, False, ("too_green",))
    assert answer.raw["more"] == {"x": 1}
    for _ in range(2):
        with pytest.raises(UnexpectedAnswerError, match="check the URL"):
            make(server.url).photo(b"x")


def snippets(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_examples_of_the_page_run(service, monkeypatch, capsys):
    url, folder = service
    monkeypatch.chdir(folder)
    blocks = snippets("clients.md")
    assert len(blocks) == 4
    names = {"KEY": KEY}
    for block in blocks:
        exec(compile(block.replace("http://127.0.0.1:8000", url), "docs/clients.md", "exec"), names)
    told = capsys.readouterr().out
    assert told.startswith("live 0.99")
    assert "scored True" in told
    assert "tell the user: " in told


def test_the_two_ways_that_keep_keys_out_of_browsers_run(service):
    url, folder = service
    remembered = {}
    names = {
        "httpx": httpx,
        "SERVICE": url,
        "PUBLIC_SERVICE": url,
        "KEY": KEY,
        "remember": remembered.__setitem__,
        "remembered": remembered.__getitem__,
    }
    for block in snippets("browsers.md"):
        exec(compile(block, "docs/browsers.md", "exec"), names)
    photo = (folder / "photo.jpg").read_bytes()
    assert names["check"](photo)["verdict"] == "live"
    given = names["begin"]("anna")
    assert (
        httpx.post(given["url"], content=photo, headers={"Authorization": f"Bearer {given['token']}"}).status_code
        == 202
    )
    assert names["finish"]("anna") is True
