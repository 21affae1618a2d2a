import struct
from functools import cache

import pytest

from liveness_core.video import VideoLimits
from liveness_service.decoding.clip import INDEX_LIMITS, opened_clip
from liveness_service.errors import (
    DeadlineExceededError,
    EmptyBodyError,
    TooManyFramesError,
    TooManyPartsError,
    TooManyPixelsError,
    TooManySecondsError,
    TooManyStreamsError,
    TooMuchToDecodeError,
    UnreadableMediaError,
    UnsupportedMediaError,
)
from support import bombs
from support.clips import clip, person_clip
from support.pictures import astronaut, encoded
from support.videos import encode_sound

GENEROUS = VideoLimits(max_seconds=30, max_frames=1800, max_pixels=9_000_000, max_streams=8, **INDEX_LIMITS)


def read(content, limits=GENEROUS, *, interrupted=lambda: False):
    with opened_clip(content, limits, interrupted) as video:
        return list(video.read([video.frames // 2]))


@cache
def clip_with_sound():
    return clip(sound=True)


def test_a_clip_is_read():
    [frame] = read(person_clip())
    assert (frame.position, frame.pixels.shape) == (30, (240, 320, 3))


@pytest.mark.parametrize(
    ("limits", "error", "words"),
    [
        (VideoLimits(max_seconds=1.5), TooManySecondsError, "more than 1.5 seconds.*LIVENESS_MAX_CLIP_SECONDS"),
        (VideoLimits(max_frames=59), TooManyFramesError, "more than 59 frames.*LIVENESS_MAX_CLIP_FRAMES"),
        (VideoLimits(max_pixels=76_799), TooManyPixelsError, "more than 76,799 pixels.*LIVENESS_MAX_CLIP_PIXELS"),
        (VideoLimits(max_decoded_pixels=31 * 76_800 - 1), TooMuchToDecodeError, "more than 2,380,799 pixels to decode"),
        (
            VideoLimits(max_cpu_s=0),
            TooMuchToDecodeError,
            "more than 0 seconds of processor time.*LIVENESS_MAX_CLIP_CPU_MS",
        ),
        (VideoLimits(max_streams=1), TooManyStreamsError, "more than 1 streams.*LIVENESS_MAX_CLIP_STREAMS"),
    ],
)
def test_what_is_beyond_a_limit_is_told_which_one(limits, error, words):
    with pytest.raises(error, match=words) as raised:
        read(clip_with_sound(), limits)
    assert raised.value.members["limit"] == float(words.split()[2].replace(",", ""))


@pytest.mark.parametrize(
    ("make", "error", "limit"),
    [
        (lambda clip: bombs.mp4_samples(clip, 100_001), TooManyFramesError, 100_000),
        (lambda clip: bombs.mp4_edits(clip, 1_001), TooManyPartsError, 1_000),
        (lambda clip: clip + bombs.box(b"free") * 50_000, TooManyPartsError, 50_000),
        (lambda clip: clip + bombs.box(b"uuid", bytes(8 << 20)), TooManyPartsError, 8 << 20),
    ],
    ids=["samples", "edits", "boxes", "header"],
)
def test_an_index_that_would_be_too_large_is_refused(make, error, limit):
    with pytest.raises(error, match=f"more than {limit:,}") as raised:
        read(make(person_clip()))
    assert raised.value.members == {"limit": limit}


def heic():
    return struct.pack(">I", 24) + b"ftypheic" + bytes(40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encoded(astronaut()[:50, :50], "JPEG"), "a JPEG image; photos go to /v1/liveness"),
        (encoded(astronaut()[:50, :50], "PNG"), "a PNG image; photos go to /v1/liveness"),
        (encoded(astronaut()[:50, :50], "GIF"), "a GIF image"),
        (heic(), "a HEIC image"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a list of files"),
        (b"http://example.org/clip.mp4", "a URL"),
        (b"\x47\x40\x00\x10" + bytes(400), "an MPEG transport stream"),
        (b"OggS" + bytes(100), "an Ogg file"),
        (b"x", "text"),
    ],
    ids=["jpeg", "png", "gif", "heic", "playlist", "concat", "url", "ts", "ogg", "a byte"],
)
def test_what_is_no_clip_is_named(content, words):
    with pytest.raises(UnsupportedMediaError, match=words):
        read(content)


def test_sound_alone_is_no_clip():
    with pytest.raises(UnsupportedMediaError, match="holds no pictures"):
        read(encode_sound())


def test_nothing_is_nothing():
    with pytest.raises(EmptyBodyError, match="0 bytes"):
        read(b"")


@pytest.mark.parametrize(
    "make", [lambda: person_clip()[:2000], lambda: b"\x1aE\xdf\xa3" + bytes(50)], ids=["mp4", "webm"]
)
def test_what_is_cut_off_before_its_first_frame_cannot_be_read(make):
    with pytest.raises(UnreadableMediaError, match="sent whole"):
        read(make())


def test_an_interruption_is_a_missed_deadline():
    with pytest.raises(DeadlineExceededError):
        read(person_clip(), interrupted=lambda: True)
