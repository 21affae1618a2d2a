"""What only this detector does; what it has in common with MTCNN is in test_own_detectors.py."""

import cv2
import numpy as np
import pytest

from liveness_core.detection.scaling import thin_out
from liveness_core.detection.yunet_network import SIDES, YunetNetwork
from liveness_core.detection.yunet_onet import _FIRST, YunetOnetDetector
from liveness_core.runtime import RuntimeOptions
from support.pictures import astronaut, no_face, two_faces

AREA = cv2.INTER_AREA


class Watched(YunetOnetDetector):
    """The detector, and the sides of the canvases that it searched."""

    def __init__(self):
        super().__init__()
        find = self._yunet.find
        self.sides = []
        self._yunet.find = lambda canvas, least: (self.sides.append(len(canvas)), find(canvas, least))[1]


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture(scope="module")
def yunet():
    return YunetNetwork("yunet_onet", RuntimeOptions())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("picture", [astronaut(), two_faces()], ids=["astronaut", "two"])
def test_yunet_sees_what_opencv_makes_of_the_same_weights(yunet, detectors_dir, picture, side):
    canvas = cv2.resize(picture, (side, side), interpolation=AREA)
    model = str(detectors_dir / "face_detection_yunet_2026may.onnx")
    opencv = cv2.FaceDetectorYN.create(model, "", (side, side), 0.6, 0.3)
    _, expected = opencv.detect(np.ascontiguousarray(canvas[..., ::-1]))
    rows = yunet.find(canvas, 0.6)
    sides = rows[:, 2:4] - rows[:, 0:2]
    shown = np.concatenate([rows[:, :2], sides, rows[:, 5:], rows[:, 4:5]], axis=1)
    assert len(shown) == len(expected) > 0
    assert shown[np.argsort(shown[:, 0])] == pytest.approx(expected[np.argsort(expected[:, 0])], abs=2e-3)


def test_a_face_that_is_seen_well_takes_one_small_canvas(watched):
    for picture in (astronaut(), cv2.resize(astronaut(), (4000, 4000))):
        [_] = watched.detect(picture)
        assert watched.sides == [320]
        watched.sides.clear()


def test_a_window_around_a_known_face_takes_the_smallest(watched):
    [_] = watched.detect(np.ascontiguousarray(astronaut()[:240, 100:340]), least_share=0.2)
    assert watched.sides == [160]


@pytest.mark.parametrize(("face_px", "sides"), [(24, [320]), (16, [320, 640])])
def test_a_larger_canvas_is_searched_for_small_faces_only(watched, face_px, sides):
    """The astronaut's face takes a fifth of her picture; here it has so many pixels of the first canvas."""
    scale = 640 / 320 * face_px / 101
    picture = np.full((480, 640, 3), 128, np.uint8)
    small = cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=AREA)
    picture[60 : 60 + len(small), 80 : 80 + len(small)] = small
    [face] = watched.detect(picture)
    assert watched.sides == sides
    assert face.box.centre == pytest.approx((80 + 223 * scale, 60 + 117 * scale), abs=4)


def test_no_face_is_looked_for_in_every_way_before_it_is_said(watched):
    assert watched.detect(no_face()) == []
    assert watched.sides == [320, 640, 320, 320]
    watched.sides.clear()
    assert watched.detect(np.zeros((240, 320, 3), np.uint8)) == []
    assert watched.sides == [320, 320, 320]


def test_a_face_larger_than_the_picture_is_found(watched):
    filled = cv2.resize(astronaut()[60:175, 178:268], (720, 920), interpolation=cv2.INTER_CUBIC)
    [face] = watched.detect(filled)
    (left, eye_y), (right, _) = face.landmarks[:2]
    assert 0.2 < left / 720 < 0.45
    assert 0.6 < right / 720 < 0.85
    assert 0.25 < eye_y / 920 < 0.5


@pytest.mark.parametrize("turns", [1, 2])
def test_a_turned_face_is_not_confirmed(turns):
    """YuNet finds it, with landmarks of an upright face. Its crop would be scored upside down."""
    turned = np.ascontiguousarray(np.rot90(astronaut(), turns))
    detector = YunetOnetDetector()
    proposed = detector._proposed(turned, _FIRST)
    assert len(proposed) or turns != 2
    assert detector._confirmed(turned, proposed) == []


def test_what_is_proposed_in_vain_is_left_to_mtcnn(monkeypatch, mtcnn):
    detector = YunetOnetDetector()
    asked = []
    monkeypatch.setattr(detector, "_confirmed", lambda picture, rows: [])
    monkeypatch.setattr(detector._mtcnn, "detect", lambda picture: asked.append(picture) or mtcnn.detect(picture))
    assert detector.detect(astronaut()) == mtcnn.detect(astronaut())
    assert len(asked) == 1
    assert detector.detect(np.zeros((240, 320, 3), np.uint8)) == []
    assert detector.detect(np.ascontiguousarray(astronaut()[:240, 100:340]), least_share=0.2) == []
    assert len(asked) == 1


def test_a_crowd_is_more_than_one_batch_and_has_a_limit():
    small = cv2.resize(astronaut(), (128, 128), interpolation=AREA)
    detector = YunetOnetDetector()
    assert len(detector.detect(np.tile(small, (3, 4, 1)))) == 12
    assert 28 <= len(detector.detect(np.tile(small, (6, 7, 1)))) <= 32  # of 42


def test_crops_are_cut_as_from_mtcnns_faces(mtcnn):
    """The default encoder was trained on MTCNN's crops."""
    for picture in (astronaut(), np.ascontiguousarray(astronaut()[:, ::-1])):
        [face], [known] = YunetOnetDetector().detect(picture), mtcnn.detect(picture)
        points, known_points = np.array(face.landmarks), np.array(known.landmarks)
        eyes = np.hypot(*(known_points[1] - known_points[0]))
        assert np.hypot(*(points - known_points).T).mean() < 0.06 * eyes
        assert face.box.area == pytest.approx(known.box.area, rel=0.12)
        assert face.box.centre == pytest.approx(known.box.centre, abs=0.04 * eyes)


@pytest.mark.parametrize(
    "size",
    [
        (320, 240),
        (640, 480),
        (1280, 960),
        (2000, 1500),
        (4000, 3000),
        pytest.param((7000, 5250), marks=pytest.mark.slow),
    ],
)
def test_a_thinned_out_picture_is_the_picture(size):
    """Half a pixel of shift at most, and no darker or lighter."""
    large = cv2.resize(astronaut()[:384], size, interpolation=cv2.INTER_CUBIC)
    small = thin_out(large, (320, 240))
    expected = cv2.resize(large, (320, 240), interpolation=AREA)
    assert small.shape == (240, 320, 3)
    assert abs(small.mean() - expected.mean()) < 1
    (x, y), certainty = cv2.phaseCorrelate(*(image.mean(axis=2) for image in (small, expected)))
    assert max(abs(x), abs(y)) < 0.5
    assert certainty > 0.5
