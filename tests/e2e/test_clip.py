"""A clip in, a verdict out: a real server, the default bundle, real clips in every container."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from liveness_service.api.schemas import ClipResponse
from support import hostile
from support.clips import clip, person, person_clip
from support.server import Server, running_server
from support.variants import slow_but
from support.videos import encode_sound

URL = "/v1/liveness/video"
RECORDINGS = Path(__file__).parent / "recordings"
"""By Chromium's MediaRecorder in pieces of half a second, from a camera that showed the astronaut."""

QUICK = {"deadline": "realtime", "cpu-used": "8"}
"""How well VP8 and VP9 compress matters to nobody here."""
CAREFUL = {"qmin": "2", "qmax": "3"}
"""Coders without a better default show blocks, and such a clip has a reason instead of a verdict."""
# Container, encoder, what else: each codec that the endpoint names in the containers that cameras put it in.
KINDS = {
    "H.264 in MP4": ("mp4", "libx264", {}),
    "H.264 in MOV": ("mov", "libx264", {}),
    "H.264 in 3GP": ("3gp", "libx264", {}),
    "H.264 in Matroska": ("matroska", "libx264", {}),
    "H.264 in AVI": ("avi", "libx264", {}),
    "HEVC in MP4": ("mp4", "libx265", {}),
    "HEVC in MOV, 10 bits": ("mov", "libx265", {"pixels": "yuv420p10le"}),
    "VP8 in WebM": ("webm", "libvpx", {"options": QUICK}),
    "VP9 in WebM": ("webm", "libvpx-vp9", {"options": QUICK}),
    "AV1 in WebM": ("webm", "libsvtav1", {}),
    "AV1 in MP4": ("mp4", "libsvtav1", {}),
    "MPEG-4 in AVI": ("avi", "mpeg4", {}),
    "MPEG-4 in 3GP": ("3gp", "mpeg4", {}),
    "MPEG-4 in MP4": ("mp4", "mpeg4", {}),
    "H.263 in 3GP": ("3gp", "h263", {"scene": lambda n: person(n, 352, 288), "options": CAREFUL}),
    "Motion JPEG in AVI": ("avi", "mjpeg", {"options": CAREFUL}),
    "Motion JPEG in MOV": ("mov", "mjpeg", {"options": CAREFUL}),
    "H.264 with sound": ("mp4", "libx264", {"sound": True}),
    "VP8 with sound": ("webm", "libvpx", {"sound": True, "options": QUICK}),
    "frames that refer to later ones": ("mp4", "libx264", {"options": {"bf": "3"}}),
    "fragmented, as a browser records": (
        "mp4",
        "libx264",
        {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}, "options": {"g": "15"}},
    ),
    "without a duration, as a browser records": (
        "webm",
        "libvpx",
        {"container_options": {"live": "1"}, "options": QUICK},
    ),
    "variable frame rate": ("mp4", "libx264", {"times": lambda n: n if n < 30 else 3 * n - 60}),
    "odd size": ("mp4", "libx264", {"scene": lambda n: person(n, 321, 241), "pixels": "yuv444p"}),
}


def post(server: Server, content: bytes, **query: str) -> ClipResponse:
    with server.client() as client:
        answer = client.post(URL, params=query, files={"video": ("clip", content)})
    assert answer.status_code == 200, answer.text
    return ClipResponse.model_validate_json(answer.text)


@contextmanager
def within_two_seconds(server: Server) -> Iterator[None]:
    """Of the service's processor time: where other tests run too, decoding takes longer than that."""
    used, began = server.processor_s(), time.monotonic()
    yield
    assert server.processor_s() - used < 2
    assert time.monotonic() - began < 10


def assert_upright(answer: ClipResponse) -> None:
    for frame in answer.frames:
        x1, y1, x2, y2 = frame.box
        assert 0.2 < (x1 + x2) / 2 / answer.clip.width < 0.8
        assert 1.0 < (y2 - y1) / (x2 - x1) < 1.7
    left, right, nose, mouth_left, mouth_right = answer.faces[0].landmarks
    assert left[0] < right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert right[1] < nose[1] < mouth_right[1]


# tests/core/test_video.py reads frames of every kind.
@pytest.mark.parametrize("name", slow_but(("HEVC in MOV, 10 bits", "VP8 with sound"), KINDS))
def test_a_clip_of_any_kind_gets_its_verdict(server, name):
    kind, codec, options = KINDS[name]
    try:
        content = clip(kind=kind, codec=codec, **options)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot encode {name}: {error}")
    answer = post(server, content)
    assert answer.verdict in ("live", "spoof"), answer.reasons
    assert answer.clip.frames_used == len(answer.frames) == 8
    assert 0 <= answer.score <= 1
    assert answer.frame_score == pytest.approx(np.mean([frame.score for frame in answer.frames]))
    assert_upright(answer)


@pytest.mark.parametrize("path", sorted(RECORDINGS.iterdir()), ids=lambda path: path.name)
def test_what_a_real_browser_recorded_is_read_to_its_end(server, path):
    answer = post(server, path.read_bytes())
    # The recorded camera showed the photo of the astronaut, which moved as a whole: one still, and told as such.
    assert answer.reasons == ["static_clip"]
    assert answer.clip.frames_used == 8
    assert 1.5 < answer.clip.duration_s < 3
    assert_upright(answer)


@pytest.mark.parametrize(
    ("kind", "turn_deg"), slow_but((("mov", 90),), itertools.product(("mp4", "mov"), (90, 180, 270)))
)
def test_a_turned_clip_is_scored_upright(server, kind, turn_deg):
    content = clip(lambda n: np.rot90(person(n), turn_deg // 90), kind=kind, rotation_deg=turn_deg)
    answer = post(server, content)
    assert (answer.clip.width, answer.clip.height) == (320, 240)
    assert_upright(answer)
    assert answer.score == pytest.approx(post(server, person_clip()).score, abs=0.2)


def test_a_raw_body_gets_the_same_answer_as_a_form(server):
    with server.client() as client:
        raw = client.post(URL, content=person_clip(), headers={"Content-Type": "video/mp4"})
    assert ClipResponse.model_validate_json(raw.text).score == post(server, person_clip()).score


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: b"x", 415, "unsupported_media"),
        (lambda: b"\x00\x00\x00\x18ftypisom", 400, "unreadable_media"),
        (encode_sound, 415, "unsupported_media"),
        (hostile.many_frames, 413, "too_many_frames"),
        (lambda: hostile.repeated(person_clip(), 60), 413, "too_many_seconds"),
        (hostile.really_large, 413, "too_many_pixels"),
        (lambda: person_clip()[:3000], 400, "unreadable_media"),
    ],
    ids=[
        "1 byte",
        "a head alone",
        "sound alone",
        "10,000 frames",
        "two minutes",
        "8192x8192",
        "cut off",
    ],
)
def test_a_hostile_clip_gets_its_answer_within_two_seconds(server, make, status, code):
    content = make()
    with server.client() as client:
        started = time.monotonic()
        answer = client.post(URL, content=content)
        took = time.monotonic() - started
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert took < 2


@pytest.mark.parametrize(
    "make",
    [lambda: hostile.forged_duration(0), lambda: hostile.forged_duration(36_000), hostile.forged_header_size],
    ids=["no duration", "ten hours", "100,000x100,000 in the header"],
)
def test_what_a_header_claims_alone_changes_nothing(server, make):
    content = make()
    with within_two_seconds(server):
        answer = post(server, content)
    assert answer.clip.frames_used == 8
    assert answer.clip.duration_s == pytest.approx(2, abs=0.1)


def test_pictures_that_claim_to_be_larger_than_the_header_says_are_not_decoded(server):
    content = hostile.forged_picture_size()
    before = server.memory_mb("VmHWM")
    with within_two_seconds(server):
        answer = post(server, content)
    assert (answer.verdict, answer.reasons) == ("undetermined", ["too_few_frames", "frame_unreadable"])
    assert server.memory_mb("VmHWM") - before < 100


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_clip_at_the_limits_raises_memory_by_less_than_300_mb(tmp_path):
    # One second over and over: 30 s of 4K at 60 frames a second, filled up to the most bytes that are taken.
    content = hostile.four_k(seconds=30, size=50 * 1024 * 1024)
    with running_server(tmp_path, clip_deadline_ms="120000") as server:
        post(server, person_clip())
        before = server.memory_mb("VmRSS")
        for _ in range(3):
            answer = post(server, content)
            assert answer.clip.frames_used == 8
        assert (answer.clip.width, answer.clip.height) == (3840, 2160)
        assert server.memory_mb("VmHWM") - before < 300
        assert server.memory_mb("VmRSS") - before < 150
