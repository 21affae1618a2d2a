import numpy as np
import pytest

from liveness_core.detection.scaling import enlarge_face, narrow_face, shrink_to
from liveness_core.types import Box, DetectedFace


def test_small_picture_is_not_touched():
    picture = np.zeros((100, 200, 3), np.uint8)
    reduced, factor = shrink_to(picture, 200)
    assert reduced is picture
    assert factor == 1


@pytest.mark.parametrize(
    ("shape", "expected"), [((300, 600), (100, 200)), ((1000, 10), (200, 2)), ((1000, 1), (200, 1))]
)
def test_longer_side_is_reduced_to_the_limit(shape, expected):
    reduced, factor = shrink_to(np.full((*shape, 3), 9, np.uint8), 200)
    assert reduced.shape == (*expected, 3)
    assert (reduced == 9).all()
    assert factor == max(shape) / 200


def test_reduction_averages():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    reduced, _ = shrink_to(stripes, 200)
    assert (reduced == 100).all()


def test_face_is_enlarged_whole():
    points = ((1.0, 2.0), (3.0, 2.5), (2.0, 3.0), (1.5, 4.0), (2.5, 4.5))
    face = enlarge_face(DetectedFace(Box(0.5, 1, 4, 6), points, 0.8), 2.0)
    assert face.box == Box(1, 2, 8, 12)
    assert face.landmarks == ((2, 4), (6, 5), (4, 6), (3, 8), (5, 9))
    assert face.confidence == 0.8


def test_face_of_a_widened_picture_is_narrowed():
    points = ((2.0, 2.0), (6.0, 2.5), (4.0, 3.0), (3.0, 4.0), (5.0, 4.5))
    face = narrow_face(DetectedFace(Box(1, 1, 8, 6), points, 0.8), 2.0)
    assert face.box == Box(0.5, 1, 4, 6)
    assert face.landmarks == ((1, 2), (3, 2.5), (2, 3), (1.5, 4), (2.5, 4.5))
    assert face.confidence == 0.8
