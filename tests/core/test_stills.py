import io
from functools import cache

import cv2
import numpy as np
import pytest

from liveness_core.clips import glance_of, is_still
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.types import Box
from liveness_core.video import VideoFrame, VideoReader
from support.clips import person
from support.pictures import astronaut
from support.videos import encode_video

SIDE = 400
FACE = Box(165.0, 131.0, 244.0, 235.0)


def zoomed(number):
    """The astronaut photo, panned and zoomed."""
    share = number / 60
    scale = 0.9 * (1 + 0.2 * share)
    x, y = 24 * np.sin(1 + 4 * share), 24 * np.cos(1 + 3 * share)
    matrix = np.array([[scale, 0, 200 - scale * 240 + x], [0, scale, 200 - scale * 150 + y]])
    return cv2.warpAffine(astronaut(), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)


# One picture coded by one thread and by several are other files: each has other losses.
@pytest.mark.parametrize(
    ("scene", "crf", "threads", "expected"),
    [
        pytest.param(zoomed, 30, 1, True, marks=pytest.mark.slow),
        (zoomed, 38, 1, True),
        pytest.param(zoomed, 38, 2, True, marks=pytest.mark.slow),
        pytest.param(zoomed, 38, 4, True, marks=pytest.mark.slow),
        (person, 38, 1, False),
        pytest.param(person, 38, 2, False, marks=pytest.mark.slow),
    ],
)
def test_a_photograph_is_a_still_and_a_person_none_though_hardly_any_bits_are_left(scene, crf, threads, expected):
    frames = [scene(number) for number in range(60)]
    options = {"crf": str(crf), "preset": "veryfast", "threads": str(threads)}
    content = encode_video(frames, codec="libx264", fps=15, options=options)
    glances = [glance_of(frame) for frame in VideoReader(io.BytesIO(content)).read(range(0, 60, 3))]
    detector = create_detector(DetectorSpec())
    boxes = [detector.detect(frames[number])[0].box for number in (0, 30, 59)]
    assert is_still(glances, [boxes[min(number // 7, 2)] for number in range(20)]) is expected


def at_rest(number, mouth=0.0, light=0.0):
    """The astronaut photo before a camera at rest, with the noise of a sensor."""
    picture = zoomed(0).astype(np.float32)
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    shade = np.exp(-(((across - 205) / 20) ** 2) - ((down - 212) / 12) ** 2)
    return np.clip(picture + light + mouth * shade[..., None] + 3 * noise(number), 0, 255).astype(np.uint8)


@cache  # of twenty frames, 38 MB: it takes longer than the rest
def noise(number):
    return np.random.default_rng(number).standard_normal((SIDE, SIDE, 3), np.float32)


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        pytest.param(at_rest, True, id="nothing but noise"),
        pytest.param(lambda n: at_rest(n, light=6 * np.sin(n)), True, id="a lamp that flickers"),
        pytest.param(lambda n: at_rest(n, light=40 * (n % 2)), True, id="two pictures in turn"),
        pytest.param(lambda n: at_rest(n, mouth=12 * np.sin(n)), False, id="a mouth that opens"),
    ],
)
def test_before_a_camera_at_rest_a_face_that_changes_by_itself_is_no_still(scene, expected):
    frames = [VideoFrame(number, number / 5, scene(number), SIDE, SIDE) for number in range(20)]
    assert is_still([glance_of(frame) for frame in frames], [FACE] * 20) is expected
