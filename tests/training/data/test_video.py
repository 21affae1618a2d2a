import av
import numpy as np
import pytest

from liveness_training.data.samples import DataError
from liveness_training.data.video import UnreadableError, read_frames
from support.pictures import astronaut, encoded
from support.videos import write_video

GREYS = [np.full((64, 96, 3), 20 + 10 * place, np.uint8) for place in range(20)]
"""Frame k has level 20 + 10 k."""
QUARTERS = np.zeros((64, 96, 3), np.uint8)
QUARTERS[:32, :48] = (250, 10, 10)
QUARTERS[:32, 48:] = (10, 250, 10)
QUARTERS[32:, :48] = (10, 10, 250)


def numbers(frames):
    """Which of GREYS each frame is."""
    return [round((float(frame.pixels.mean()) - 20) / 10) for frame in frames]


def recorded(path, frames, **options):
    """A video whose display matrix is set by `options` of PyAV's `set_display_rotation`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(**options)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def assert_like(pixels, expected):
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    # The middle of each quarter, away from edges that compression blurs.
    height, width = expected.shape[:2]
    at = np.ix_([height // 4, 3 * height // 4], [width // 4, 3 * width // 4])
    assert np.abs(pixels[at].astype(int) - expected[at]).max() < 25


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.mp4", "h264"),
        ("v.MOV", "h264"),
        ("v.mkv", "h264"),
        ("v.mp4", "mpeg4"),
        ("v.avi", "mpeg4"),
        ("v.avi", "mjpeg"),
        ("v.webm", "libvpx"),
        ("v.webm", "libvpx-vp9"),
        ("v.3gp", "mpeg4"),
    ],
)
def test_frames_are_those_at_the_positions_in_their_order(tmp_path, name, codec):
    path = write_video(tmp_path / name, GREYS, codec=codec)
    frames = read_frames(path, lambda total: (total - 1, 0, 7, 7))
    assert [frame.position for frame in frames] == [19, 0, 7, 7]
    assert numbers(frames) == [19, 0, 7, 7]


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_rotation_in_the_file_is_applied_and_replaces_that_of_the_sample(tmp_path, turn_deg):
    expected = np.rot90(QUARTERS, -turn_deg // 90)
    path = write_video(tmp_path / "v.mp4", [QUARTERS] * 2, rotation_deg=turn_deg)
    assert_like(read_frames(path, lambda _: (1,))[0].pixels, expected)
    if turn_deg:
        assert_like(read_frames(path, lambda _: (1,), turn_deg=90)[0].pixels, expected)


@pytest.mark.parametrize("turn_deg", [90, 180, 270])
def test_file_that_says_nothing_is_turned_clockwise_as_the_sample_says(tmp_path, turn_deg):
    path = write_video(tmp_path / "v.avi", [QUARTERS] * 2)
    assert_like(read_frames(path, lambda _: (0,), turn_deg)[0].pixels, np.rot90(QUARTERS, -turn_deg // 90))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_mirrored_recordings_are_mirrored_back(tmp_path, turns):
    path = recorded(tmp_path / "v.mp4", [QUARTERS] * 2, degrees=90 * turns, hflip=True)
    assert_like(read_frames(path, lambda _: (0,))[0].pixels, np.rot90(QUARTERS, turns)[:, ::-1])


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "mjpeg"), ("v.webm", "libvpx")])
def test_positions_follow_the_frames_that_decode_where_the_end_is_lost(tmp_path, name, codec):
    path = write_video(tmp_path / name, GREYS, codec=codec)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    totals = []

    def last(total):
        totals.append(total)
        return (0, total - 1)

    frames = read_frames(path, last)
    left = totals[-1]
    assert 4 < left < 18
    assert [frame.position for frame in frames] == [0, left - 1]
    assert numbers(frames) == [0, left - 1]


def test_damage_in_the_middle_costs_no_more_than_some_frames(tmp_path):
    path = write_video(tmp_path / "v.avi", GREYS, codec="mjpeg")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = b"\x55" * 40
    path.write_bytes(bytes(content))
    frames = read_frames(path, range)
    assert 17 <= len(frames) < 20
    assert [numbers(frames)[place] for place in (0, -1)] == [0, 19]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a video" * 100,
        b"ffconcat version 1.0\nfile other.mp4\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        encoded(astronaut(), "JPEG"),
    ],
    ids=["empty", "text", "list of files", "playlist", "picture"],
)
def test_what_is_no_video_is_named_and_leads_to_no_other_file(tmp_path, content):
    write_video(tmp_path / "other.mp4", GREYS)
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(UnreadableError, match=r"v\.mp4 cannot be read as a video"):
        read_frames(tmp_path / "v.mp4", range)


def test_video_without_pictures_is_named(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16_000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(UnreadableError, match=r"v\.mp4 has no video stream"):
        read_frames(tmp_path / "v.mp4", range)


def test_missing_file_is_no_unreadable_one(tmp_path):
    with pytest.raises(DataError, match=r"gone\.mp4 cannot be opened: No such file") as raised:
        read_frames(tmp_path / "gone.mp4", range)
    assert not isinstance(raised.value, UnreadableError)
