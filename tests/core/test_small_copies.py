"""Small copies of pictures and frames: the cheap way shows what the plain way shows."""

import io
from functools import cache

import cv2
import numpy as np
import pytest

from liveness_core.video import VideoReader, reduced
from support.clips import clip, person
from support.pictures import astronaut


@pytest.mark.parametrize("size", [(192, 144), (160, 120), (90, 160), (100, 100), (60, 45), (512, 512), (600, 600)])
@pytest.mark.parametrize("odd", [0, 1], ids=["even", "odd"])
def test_a_reduced_picture_is_the_mean_of_its_areas(size, odd):
    picture = astronaut()[odd:, : 512 - odd]
    plain = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for pixels, expected in ((picture, plain), (picture[..., 1], plain[..., 1])):
        made = reduced(np.ascontiguousarray(pixels), size)
        assert made.dtype == np.uint8
        assert made.shape == expected.shape
        difference = np.abs(made.astype(int) - expected)
        assert difference.mean() < 2
        assert abs(float(made.mean()) - float(expected.mean())) < 0.3


@cache
def second():
    """A second of a person, 640 x 480."""
    return clip(lambda number: person(number, 640, 480), 1)


@pytest.mark.parametrize("full_range", [False, True], ids=["video range", "full range"])
def test_small_frames_look_as_whole_ones_do(full_range):
    options = {"codec": "mjpeg", "kind": "avi"} if full_range else {"options": {"crf": "12"}}
    content = clip(lambda number: person(number, 640, 480), 0.5, **options)
    video = VideoReader(io.BytesIO(content))
    whole = {frame.position: frame for frame in video.read([3, 9])}
    for frame in VideoReader(io.BytesIO(content)).read((), small=[3, 9]):
        assert frame.pixels.shape == (144, 192, 3)
        assert (frame.width, frame.height) == (640, 480)
        expected = cv2.resize(whole[frame.position].pixels, (192, 144), interpolation=cv2.INTER_AREA)
        difference = frame.pixels.astype(int) - expected
        assert np.abs(difference).mean() < 2.5
        assert np.abs(difference.mean((0, 1))).max() < 3  # a range taken for the other would be 16


def test_frames_that_were_passed_are_at_hand():
    video = VideoReader(io.BytesIO(second()))
    passed = {}
    for frame in video.read([12], small=[0, 6, 18, 24]):
        passed[frame.position] = video.passed()
    assert [frame.position for frame in passed[0]] == []
    for last in (6, 12, 18, 24):
        positions = [frame.position for frame in passed[last]]
        # Frames that no other one refers to are not decoded for this.
        assert positions
        assert positions == sorted(positions)
        assert all(last - 6 < position < last for position in positions)
        assert all(frame.pixels.shape == (144, 192, 3) for frame in passed[last])
    (anew,) = VideoReader(io.BytesIO(second())).read((), small=[passed[18][0].position])
    assert (anew.pixels == passed[18][0].pixels).all()
    assert anew.time_s == passed[18][0].time_s


def test_nothing_is_kept_where_no_small_frames_are_wanted():
    video = VideoReader(io.BytesIO(second()))
    assert [video.passed() for _ in video.read([6, 12])] == [[], []]
    assert video.passed() == []
