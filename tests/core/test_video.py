import io
import itertools
import struct
import time

import av
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
    upright,
    video_kind,
)
from support import bombs
from support.pictures import astronaut, encoded
from support.videos import encode_sound, encode_video

QUARTERS = np.zeros((64, 96, 3), np.uint8)
QUARTERS[:32, :48] = (250, 10, 10)
QUARTERS[:32, 48:] = (10, 250, 10)
QUARTERS[32:, :48] = (10, 10, 250)

# Container and encoder: together they cover all kinds that the endpoint names.
KINDS = [
    ("mp4", "libx264"),
    ("mp4", "libx265"),
    ("mp4", "mpeg4"),
    ("mp4", "libsvtav1"),
    ("mov", "libx264"),
    ("mov", "mjpeg"),
    ("matroska", "libx264"),
    ("matroska", "libvpx-vp9"),
    ("webm", "libvpx"),
    ("webm", "libvpx-vp9"),
    ("webm", "libsvtav1"),
    ("3gp", "mpeg4"),
    ("3gp", "h263"),
    ("avi", "mpeg4"),
    ("avi", "mjpeg"),
    ("avi", "libx264"),
]


def reader(content, limits=None, **options):
    return VideoReader(io.BytesIO(content), limits, **options)


def frames_of(content, positions, **options):
    return list(reader(content, **options).read(positions))


def numbers(frames):
    """The numbers that these frames have in the video made by `greys`."""
    return [round((float(frame.pixels.mean()) - 20) / 10) for frame in frames]


def greys(kind, codec, *, noise=0, **options):
    """A video of 20 frames; frame k has level 20 + 10 k."""
    size = (144, 176) if codec == "h263" else (64, 96)
    frames = np.array([np.full((*size, 3), 20 + 10 * number, np.uint8) for number in range(20)])
    frames += np.random.default_rng(0).integers(0, 2 * noise + 1, frames.shape, dtype=np.uint8)
    frames -= np.uint8(noise)
    return encode_video(frames, kind, codec, **options)


def encodable(kind, codec, **options):
    try:
        return greys(kind, codec, **options)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot encode {codec} into {kind}: {error}")


def assert_like(pixels, expected):
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    # Compare the middles of the quarters, away from the edges, which compression blurs.
    height, width = expected.shape[:2]
    at = np.ix_([height // 4, 3 * height // 4], [width // 4, 3 * width // 4])
    assert np.abs(pixels[at].astype(int) - expected[at]).max() < 25


class TestWhichFrames:
    @pytest.mark.parametrize(("kind", "codec"), KINDS)
    def test_frames_are_those_at_the_positions_in_the_order_of_time(self, kind, codec):
        content = encodable(kind, codec)
        assert reader(content).frames == 20
        frames = frames_of(content, [19, 0, 7, 7])
        assert [frame.position for frame in frames] == [0, 7, 19]
        assert numbers(frames) == [0, 7, 19]
        assert numbers(frames_of(content, range(20))) == list(range(20))

    @pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("mp4", "libx265"), ("matroska", "libvpx-vp9")])
    def test_frames_are_found_from_any_keyframe_and_with_frames_that_refer_to_later_ones(self, kind, codec):
        dense = {"g": "5", "bf": "3"}
        content = greys(kind, codec, options=dense)
        for wanted in ([4], [5], [6], [3, 11], [9, 10], [0, 19], [2, 3, 4, 17]):
            assert numbers(frames_of(content, wanted)) == wanted

    def test_only_the_stretches_before_wanted_frames_are_decoded(self, monkeypatch):
        content = greys("mp4", "libx264", options={"g": "5", "bf": "0"})
        decoded = []
        original = VideoReader._decoded
        monkeypatch.setattr(
            VideoReader,
            "_decoded",
            lambda self, codec, packet: decoded.append(packet.pts if packet else None) or original(self, codec, packet),
        )
        assert numbers(frames_of(content, [6, 17])) == [6, 17]
        assert len([pts for pts in decoded if pts is not None]) == 2 + 3  # from the keyframes 5 and 15 on

    def test_frames_that_no_other_refers_to_are_passed_over(self, monkeypatch):
        content = greys("mp4", "libx264", options={"g": "20", "bf": "3", "b-pyramid": "none"})
        came = []
        original = VideoReader._wanted_of
        monkeypatch.setattr(
            VideoReader,
            "_wanted_of",
            lambda self, frames, wanted: original(self, (came.append(frame) or frame for frame in frames), wanted),
        )
        assert numbers(frames_of(content, [19])) == [19]
        assert len(came) < 15

    def test_times_are_those_of_the_frames_where_they_vary(self):
        content = greys("mp4", "libx264", fps=30, times=lambda number: number if number < 10 else 3 * number)
        video = reader(content)
        assert video.frames == 20
        assert video.duration_s == pytest.approx(57 / 30 * 20 / 19)
        assert video.fps == pytest.approx(20 / video.duration_s)
        [early, late] = video.read([5, 15])
        assert (early.time_s, late.time_s) == (pytest.approx(5 / 30, abs=1e-3), pytest.approx(45 / 30, abs=1e-3))
        assert numbers([early, late]) == [5, 15]

    def test_what_an_edit_list_cuts_away_is_not_counted(self):
        # x264 delays frames; the container's edit list then says where the first one is.
        content = greys("mp4", "libx264", options={"bf": "3"}, container_options={"use_editlist": "1"})
        assert reader(content).frames == 20
        assert numbers(frames_of(content, [0])) == [0]

    def test_what_a_browser_records_has_no_duration_and_is_read(self):
        fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        fragmented = greys("mp4", "libx264", options={"g": "5"}, container_options=fragments)
        live = greys("webm", "libvpx", container_options={"live": "1"})
        for content in (fragmented, live):
            video = reader(content)
            assert video.frames == 20
            assert video.duration_s == pytest.approx(0.8, abs=0.05)
            assert numbers(video.read([3, 18])) == [3, 18]

    def test_sound_is_passed_over(self):
        content = greys("mp4", "libx264", sound=True)
        assert numbers(frames_of(content, [3, 18])) == [3, 18]

    def test_the_reader_reads_again(self):
        video = reader(greys("webm", "libvpx"))
        assert numbers(video.read([3])) == [3]
        assert numbers(video.read([2, 18])) == [2, 18]
        assert list(video.read([])) == []


class TestPictures:
    @pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
    @pytest.mark.parametrize("kind", ["mp4", "mov"])
    def test_rotation_in_the_file_is_applied_and_replaces_that_of_the_caller(self, kind, turn_deg):
        expected = np.rot90(QUARTERS, -turn_deg // 90)
        content = encode_video([QUARTERS] * 2, kind, rotation_deg=turn_deg)
        [frame] = frames_of(content, [1])
        assert_like(frame.pixels, expected)
        assert (frame.height, frame.width) == expected.shape[:2]
        if turn_deg:
            assert_like(frames_of(content, [1], turn_deg=90)[0].pixels, expected)

    @pytest.mark.parametrize("turn_deg", [90, 180, 270])
    def test_file_that_says_nothing_is_turned_clockwise_as_the_caller_says(self, turn_deg):
        [frame] = frames_of(encode_video([QUARTERS] * 2, "avi", "mpeg4"), [0], turn_deg=turn_deg)
        expected = np.rot90(QUARTERS, -turn_deg // 90)
        assert_like(frame.pixels, expected)
        assert (frame.height, frame.width) == expected.shape[:2]

    @pytest.mark.parametrize("turns", [0, 1, 2, 3])
    def test_mirrored_recordings_are_mirrored_back(self, turns):
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("h264", rate=25)
            stream.height, stream.width = QUARTERS.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.set_display_rotation(degrees=90 * turns, hflip=True)
            for _ in range(2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(QUARTERS, format="rgb24")))
            container.mux(stream.encode())
        [frame] = frames_of(file.getvalue(), [0])
        assert_like(frame.pixels, np.rot90(QUARTERS, turns)[:, ::-1])

    def test_ten_bits_become_eight(self):
        # Not libx265: with it, writing the file failed in whole runs of the tests and never alone; why is not known.
        content = encode_video([QUARTERS] * 2, "mp4", "libx264", pixels="yuv420p10le")
        assert_like(frames_of(content, [1])[0].pixels, QUARTERS)

    def test_odd_sizes_are_kept(self):
        odd = np.ascontiguousarray(QUARTERS[:63, :95])
        content = encode_video([odd] * 2, "mp4", "libx264", pixels="yuv444p")
        assert frames_of(content, [0])[0].pixels.shape == (63, 95, 3)

    def test_large_frames_are_reduced_and_say_by_how_much(self, monkeypatch):
        monkeypatch.setattr(upright, "MAX_SIDE_PX", 48)
        [frame] = frames_of(encode_video([QUARTERS] * 2), [0])
        assert_like(frame.pixels, QUARTERS[::2, ::2])
        assert (frame.width, frame.height, frame.scale) == (96, 64, 2)

    def test_oblong_pixels_become_square(self):
        # H.263 at 176x144 has pixels of 12:11.
        [frame] = frames_of(greys("3gp", "h263"), [0])
        assert frame.pixels.shape == (144, 192, 3)


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


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x00\x00\x00\x18ftypisom", "mov"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00", "mov"),
        (b"\x1aE\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x00", "matroska"),
        (b"RIFF\x00\x00\x00\x00AVI ", "avi"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_the_kind_is_told_from_the_first_bytes(start, kind):
    assert video_kind(start) == kind
