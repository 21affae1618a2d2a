import io

import av
import numpy as np
import pytest

from liveness_core.video import (
    VideoReader,
    upright,
    video_kind,
)
from support.readings import assert_like, encodable, frames_of, greys, numbers, reader
from support.videos import encode_video

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


class TestWhichFrames:
    @pytest.mark.parametrize(("kind", "codec"), KINDS)
    def test_frames_are_those_at_the_positions_in_the_order_of_time(self, kind, codec):
        content = encodable(kind, codec)
        assert reader(content).frames == 20
        frames = frames_of(content, [19, 0, 7, 7])
        assert [frame.position for frame in frames] == [0, 7, 19]
        assert numbers(frames) == [0, 7, 19]
        assert numbers(frames_of(content, range(20))) == list(range(20))
        assert reader(content).smooths_blocks == (codec not in ("mpeg4", "mjpeg", "h263"))

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
