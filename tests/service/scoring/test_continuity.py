import itertools

import cv2
import numpy as np
import pytest

from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.types import Box
from liveness_service.scoring.continuity import Appearance, appearance, is_same_face, likeness
from support.clips import person, somebody_else


@pytest.fixture(scope="module")
def look():
    detector = create_detector(DetectorSpec())

    def of(picture):
        return appearance(picture, detector.detect(picture)[0])

    return of


def boxed(x, y, side):
    detail = np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32)
    return Appearance(Box(x, y, x + side, y + side), detail, np.array([140.0, 120.0], np.float32))


def test_a_person_who_moves_stays_one(look):
    looks = [look(person(number, 640, 480)) for number in range(0, 90, 10)]
    assert all(is_same_face(before, after) for before, after in itertools.pairwise(looks))


@pytest.mark.parametrize("gain", [0.75, 1.2])
def test_so_does_a_person_in_changing_light(look, gain):
    brighter = np.clip(person(12) * gain, 0, 255).astype(np.uint8)
    assert is_same_face(look(person(10)), look(brighter))


def test_another_face_in_the_same_place_is_another(look):
    assert not is_same_face(look(person(10)), look(somebody_else(10)))


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (boxed(100, 100, 100), True),
        (boxed(250, 100, 100), True),
        (boxed(350, 100, 100), False),
        (boxed(100, 320, 100), False),
        (boxed(50, 50, 180), True),
        (boxed(0, 0, 260), False),
        (boxed(120, 120, 40), False),
    ],
)
def test_a_face_moves_only_so_far_and_grows_only_so_much(after, same):
    assert is_same_face(boxed(100, 100, 100), after) is same
    assert is_same_face(after, boxed(100, 100, 100)) is same


def test_likeness_forgives_a_small_shift_and_nothing_else():
    detail = cv2.GaussianBlur(np.random.default_rng(1).normal(size=(30, 30)).astype(np.float32), (0, 0), 1.5)
    other = np.ascontiguousarray(detail[::-1, ::-1])
    assert likeness(detail[:24, :24], detail[2:26, 1:25]) > 0.99
    assert likeness(detail[:24, :24], other[:24, :24]) < 0.5
