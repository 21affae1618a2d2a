"""Damaged videos and those beyond a limit."""

import itertools
import struct
import time

import numpy as np
import pytest

from liveness_core.video import (
    NoVideoStreamError,
    VideoError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoReader,
    VideoUnreadableError,
)
from support import bombs
from support.pictures import astronaut, encoded
from support.readings import frames_of, greys, numbers, reader
from support.videos import encode_sound, encode_video


class TestDamage:
    @pytest.mark.parametrize(("kind", "codec"), [("avi", "mjpeg"), ("webm", "libvpx"), ("matroska", "libx264")])
    def test_frames_are_counted_up_to_where_the_end_is_lost(self, kind, codec):
        content = greys(kind, codec, noise=15, options={"g": "2"})
        video = reader(content[: len(content) * 6 // 10])
        left = video.frames
        assert 4 < left < 18
        assert numbers(video.read([0, left - 1])) == [0, left - 1]

    def test_an_mp4_whose_index_is_in_front_is_read_as_far_as_it_goes(self):
        content = greys("mp4", "libx264", noise=15, options={"g": "2"}, container_options={"movflags": "faststart"})
        video = reader(content[: len(content) * 8 // 10])
        assert 4 < video.frames < 20
        assert numbers(video.read([0, video.frames - 1])) == [0, video.frames - 1]

    def test_damage_in_the_middle_costs_no_more_than_some_frames(self):
        content = bytearray(greys("avi", "mjpeg"))
        middle = len(content) // 2
        content[middle : middle + 40] = b"\x55" * 40
        frames = frames_of(bytes(content), range(20))
        assert 17 <= len(frames) < 20
        assert numbers(frames)[0] == 0

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"x",
            b"not a video" * 100,
            b"ffconcat version 1.0\nfile other.mp4\n",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
            encoded(astronaut(), "JPEG"),
            greys("mp4", "libx264")[:200],
            greys("webm", "libvpx")[:60],
            b"\x00\x00\x00\x18ftypmp42" + bytes(100),
        ],
        ids=["empty", "a byte", "text", "list", "playlist", "picture", "no index", "no frame", "nothing in it"],
    )
    def test_what_is_no_video_is_refused(self, content):
        with pytest.raises(VideoUnreadableError):
            reader(content)

    def test_sound_alone_is_no_video(self):
        with pytest.raises(NoVideoStreamError, match="no video stream"):
            reader(encode_sound())

    def test_any_damage_ends_in_frames_or_in_a_video_error(self):
        whole = greys("mp4", "libx264")
        random = np.random.default_rng(0)
        for _ in range(60):
            content = bytearray(whole)
            for position in random.integers(0, len(content), 8):
                content[position] = random.integers(256)
            try:
                frames_of(bytes(content[: random.integers(100, len(content) + 1)]), range(0, 20, 5))
            except VideoError:
                continue


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "limit"),
        [
            (VideoLimits(max_seconds=0.7), "seconds"),
            (VideoLimits(max_frames=19), "frames"),
            (VideoLimits(max_pixels=64 * 96 - 1), "pixels"),
            (VideoLimits(max_streams=1), "streams"),
        ],
    )
    def test_what_is_beyond_a_limit_is_refused_by_its_name(self, limits, limit):
        content = greys("mp4", "libx264", sound=True)
        with pytest.raises(VideoLimitError, match=limit) as raised:
            reader(content, limits)
        assert raised.value.limit == limit
        reader(content, VideoLimits(max_seconds=0.9, max_frames=20, max_pixels=64 * 96, max_streams=2))

    @pytest.mark.parametrize("claimed", [1, 2**31 - 1])
    def test_a_forged_duration_in_the_header_changes_nothing(self, claimed):
        content = bytearray(greys("mp4", "libx264"))
        for box, at in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
            struct.pack_into(">I", content, content.index(box) + 4 + at, claimed)
        video = reader(bytes(content), VideoLimits(max_seconds=2))
        assert video.duration_s == pytest.approx(0.8, abs=0.05)
        assert numbers(video.read([3, 18])) == [3, 18]

    def test_forged_times_of_frames_are_a_forged_length(self):
        content = bytearray(greys("mp4", "libx264", options={"bf": "0"}, container_options={"use_editlist": "0"}))
        entry = content.index(b"stts") + 12  # number of samples, then how long each is shown
        struct.pack_into(">I", content, entry + 4, 2**28)
        with pytest.raises(VideoLimitError, match="seconds"):
            reader(bytes(content), VideoLimits(max_seconds=30))

    @pytest.mark.parametrize(
        ("kind", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mjpeg"), ("webm", "libvpx-vp9")]
    )
    def test_frames_that_are_larger_than_the_header_says_are_refused(self, kind, codec):
        small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((1024, 1024, 3), np.uint8)
        fast = {"preset": "ultrafast"} if codec == "libx264" else {}
        content = bytearray(encode_video([large] * 2, kind, codec, options=fast))
        patched = _with_size(content, kind, small.shape)
        with pytest.raises(VideoLimitError, match="pixels"):
            list(reader(patched, VideoLimits(max_pixels=64 * 64)).read([0, 1]))

    @pytest.mark.parametrize(
        ("kind", "codec", "packets"),
        [("mp4", "libx264", 2 + 3), ("webm", "libvpx-vp9", 2 + 3), ("avi", "mpeg4", 18)],  # AVI: all from the start on
    )
    def test_what_has_to_be_decoded_is_counted_before(self, kind, codec, packets, monkeypatch):
        content = greys(kind, codec, options={"g": "5", "bf": "0"})
        most = packets * 64 * 96
        assert numbers(reader(content, VideoLimits(max_decoded_pixels=most)).read([6, 17])) == [6, 17]
        video = reader(content, VideoLimits(max_decoded_pixels=most - 1))
        monkeypatch.setattr(VideoReader, "_decoded", None)  # nothing is decoded
        with pytest.raises(VideoLimitError, match="pixels to decode") as raised:
            next(video.read([6, 17]))
        assert raised.value.allowed == most - 1

    def test_what_was_decoded_before_counts(self):
        video = reader(greys("mp4", "libx264", options={"g": "5", "bf": "0"}), VideoLimits(max_decoded_pixels=5 * 6144))
        assert numbers(video.read([4])) == [4]
        with pytest.raises(VideoLimitError, match="pixels to decode"):
            list(video.read([5]))

    @pytest.mark.parametrize(("left", "read"), [(1, []), (2, [6]), (5, [6, 17]), (6, [6, 17]), (7, [6, 11, 17])])
    def test_of_optional_frames_as_many_are_read_as_may_be_decoded(self, left, read):
        content = greys("mp4", "libx264", options={"g": "5", "bf": "0"})
        video = reader(content, VideoLimits(max_decoded_pixels=left * 64 * 96))
        assert numbers(video.read([6, 17, 11, 12, 0], optional=True)) == read

    def test_pictures_that_are_larger_than_the_header_says_count_as_what_they_are(self):
        large = np.zeros((1024, 1024, 3), np.uint8)
        content = bytearray(encode_video([large] * 5, "matroska", "libx264", options={"preset": "ultrafast"}))
        content = _with_size(content, "matroska", (64, 64))
        limits = VideoLimits(max_decoded_pixels=3 * 1024 * 1024)
        with pytest.raises(VideoLimitError, match="pixels to decode"):
            list(reader(content, limits).read([0, 4]))
        assert [frame.position for frame in reader(content, limits).read([0, 4], optional=True)] in ([], [0])

    def test_processor_time_is_limited(self):
        content = greys("mp4", "libx264")
        assert numbers(reader(content, VideoLimits(max_cpu_s=60)).read([19])) == [19]
        with pytest.raises(VideoLimitError, match="processor time"):
            reader(content, VideoLimits(max_cpu_s=0))
        video = reader(content, VideoLimits(max_cpu_s=0.5))
        frames = video.read([0, 19])
        next(frames)
        _burn(0.5)
        with pytest.raises(VideoLimitError, match="processor time"):
            next(frames)

    def test_a_bomb_of_one_keyframe_is_refused_by_its_index(self):
        content = bombs.one_keyframe(3840, 2160, 483)
        assert len(content) < 100_000
        started = time.thread_time()
        with pytest.raises(VideoLimitError, match="pixels to decode"):
            list(reader(content, VideoLimits(max_decoded_pixels=4_000_000_000)).read([0, 482]))
        assert time.thread_time() - started < 1

    def test_whoever_wants_it_no_more_is_heard(self):
        asked = itertools.count()
        with pytest.raises(VideoInterruptedError):
            reader(greys("mp4", "libx264"), interrupted=lambda: next(asked) > 5)
        video = reader(greys("webm", "libvpx"), interrupted=lambda: next(asked) > 30)
        with pytest.raises(VideoInterruptedError):
            list(video.read([19]))


def _burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _with_size(content, kind, size):
    """The same file with another size in the container's header."""
    height, width = size[:2]
    content = bytearray(content)
    if kind == "mp4":
        struct.pack_into(">HH", content, content.index(b"avc1", content.index(b"stsd")) + 28, width, height)
    elif kind == "avi":
        struct.pack_into("<ii", content, content.index(b"strf") + 12, width, height)
    else:  # PixelWidth and PixelHeight of two bytes each
        for name, value in ((b"\xb0\x82", width), (b"\xba\x82", height)):
            struct.pack_into(">H", content, content.index(name) + 2, value)
    return bytes(content)
