"""Views: crops by the rules of those who trained the networks, and the tensors that they take."""

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from liveness_core.alignment import align
from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import Box, DetectedFace
from liveness_core.views import View, cut_views, tensors, views_of
from support.fakes import POINTS
from support.pictures import astronaut

PICTURE = astronaut()
BOXES = [
    (178.0, 59.0, 268.0, 173.0),
    (-8.4, -12.0, 70.2, 95.7),  # over the upper left corner
    (440.3, 402.9, 530.0, 518.8),  # over the lower right one
    (60.0, 10.0, 420.0, 470.0),  # hardly any room around it
    (300.25, 200.75, 325.0, 230.0),  # small
]


def face(box):
    return DetectedFace(Box(*box), tuple(map(tuple, POINTS.tolist())), 0.99)


def silent_face(box, factor):
    """As Silent-Face-Anti-Spoofing describes its crop."""
    height, width = PICTURE.shape[:2]
    x1, y1, x2, y2 = box
    factor = min(factor, (height - 1) / (y2 - y1), (width - 1) / (x2 - x1))
    new_width, new_height = (x2 - x1) * factor, (y2 - y1) * factor
    left, top = (x1 + x2) / 2 - new_width / 2, (y1 + y2) / 2 - new_height / 2
    right, bottom = left + new_width, top + new_height
    if left < 0:
        left, right = 0, right - left
    if top < 0:
        top, bottom = 0, bottom - top
    if right > width - 1:
        left, right = left - (right - width + 1), width - 1
    if bottom > height - 1:
        top, bottom = top - (bottom - height + 1), height - 1
    return cv2.resize(PICTURE[int(top) : int(bottom) + 1, int(left) : int(right) + 1], (80, 80))


def mirrored(box, factor, size):
    """A square of the picture, whose edges are mirrors."""
    x1, y1, x2, y2 = box
    longer, around = max(x2 - x1, y2 - y1), 500
    side = int(longer * factor)
    left, top = (int((low + high) / 2 - longer * factor / 2) for low, high in ((x1, x2), (y1, y2)))
    wide = cv2.copyMakeBorder(PICTURE, around, around, around, around, cv2.BORDER_REFLECT_101)
    square = wide[top + around : top + around + side, left + around : left + around + side]
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_LANCZOS4)


@pytest.mark.parametrize("box", BOXES)
def test_crops_are_those_that_published_networks_were_trained_on(box):
    for factor in (2.7, 4.0):
        view = View(rule="upright_box", margin=factor, size=80, resampling="bilinear")
        np.testing.assert_array_equal(view.cut(PICTURE, face(box)), silent_face(box, factor))
    for size in (64, 128, 400):
        view = View(rule="upright_square", margin=1.5, size=size, resampling="area_lanczos")
        np.testing.assert_array_equal(view.cut(PICTURE, face(box)), mirrored(box, 1.5, size))


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("rule", ["level_square", "upright_box", "upright_square"])
def test_the_least_side_is_that_of_the_crop(rule, box):
    view = View(rule=rule, margin=2.0, size=64)
    if rule == "level_square":
        expected = align(PICTURE, face(box), margin=2.0, size=64).side_px
    else:
        sides = box[2] - box[0], box[3] - box[1]
        expected = 2.0 * max(sides) if rule == "upright_square" else min(2.0, 511 / max(sides)) * min(sides)
    assert view.least_side_px(face(box), 512, 512) == pytest.approx(expected)


def test_a_face_beside_the_picture_still_has_a_crop():
    for rule in ("level_square", "upright_box", "upright_square"):
        crop = View(rule=rule, margin=1.5, size=32).cut(PICTURE, face((600.0, 600.0, 640.0, 660.0)))
        assert crop.shape == (32, 32, 3)


def test_the_only_view_of_an_older_bundle_is_its_crop_to_the_last_bit():
    spec = PreprocessSpec(margin=2.2, size=96, colour_order="BGR", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    [view] = views_of(spec)
    crop = view.cut(PICTURE, face(BOXES[0]))
    np.testing.assert_array_equal(crop, align(PICTURE, face(BOXES[0]), margin=2.2, size=96).pixels)
    np.testing.assert_array_equal(view.to_tensor([crop]), spec.to_tensor([crop]))
    assert (view.name, view.heatmap) == ("image", True)


def test_values_have_the_networks_range():
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[...] = (10, 20, 255)
    plain = {"size": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}
    whole = View(**plain, max_value=255, colour_order="BGR").to_tensor([crop])
    assert whole[0, :, 5, 5].tolist() == [255, 20, 10]
    np.testing.assert_allclose(View(**plain).to_tensor([crop])[0, :, 5, 5], np.array([10, 20, 255]) / 255, rtol=1e-6)


def test_each_crop_is_cut_once_and_travels_with_its_view():
    views = [View(name="a", size=64), View(name="b", size=64, max_value=255), View(name="c", size=32, margin=1.2)]
    crops = cut_views(views, PICTURE, face(BOXES[0]))
    assert crops[0] is crops[1]
    made = tensors(views, [crops, crops])
    assert {name: tensor.shape for name, tensor in made.items()} == {
        "a": (2, 3, 64, 64),
        "b": (2, 3, 64, 64),
        "c": (2, 3, 32, 32),
    }
    with pytest.raises(ValueError, match="2 crops, expected 3"):
        tensors(views, [crops[:2]])


@pytest.mark.parametrize(
    "fields", [{"resampling": "bilinear"}, {"name": "Two words"}, {"max_value": 0}, {"rule": "oval"}, {"margin": 6.01}]
)
def test_a_view_that_nobody_can_cut_is_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        View(**fields)
