"""Boxes: one by itself, and arrays of candidates."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from liveness_core.detection.boxes import non_maximum, refine, squares
from liveness_core.types import Box


def rows(*values):
    return np.array(values, np.float32).reshape(-1, 5)


def overlap(first, second, of_smaller=False):
    shared = max(0, min(first[2], second[2]) - max(first[0], second[0])) * max(
        0, min(first[3], second[3]) - max(first[1], second[1])
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (min(areas) if of_smaller else sum(areas) - shared)


@st.composite
def candidate_boxes(draw):
    count = draw(st.integers(0, 12))
    corners = draw(arrays(np.float32, (count, 2), elements=st.integers(0, 60)))
    sides = draw(arrays(np.float32, (count, 2), elements=st.integers(1, 40)))
    confidence = draw(arrays(np.float32, (count, 1), elements=st.integers(1, 99)))
    return np.concatenate([corners, corners + sides, confidence / 100], axis=1)


@settings(deadline=None)
@given(candidate_boxes(), st.sampled_from([0.3, 0.5, 0.7]), st.booleans())
def test_boxes_kept_do_not_overlap_and_boxes_dropped_do(boxes, limit, of_smaller):
    kept = non_maximum(boxes, limit, of_smaller=of_smaller).tolist()
    assert boxes[kept, 4].tolist() == sorted(boxes[kept, 4].tolist(), reverse=True)
    for position, row in enumerate(kept):
        for other in kept[:position]:
            assert overlap(boxes[row], boxes[other], of_smaller) <= limit + 1e-6
    for row in set(range(len(boxes))) - set(kept):
        assert any(
            overlap(boxes[row], boxes[other], of_smaller) > limit - 1e-6 and boxes[other, 4] >= boxes[row, 4]
            for other in kept
        )


def test_the_most_confident_of_two_overlapping_boxes_is_kept():
    boxes = rows([0, 0, 10, 10, 0.6], [1, 0, 11, 10, 0.9], [50, 50, 60, 60, 0.7])
    assert non_maximum(boxes, 0.5).tolist() == [1, 2]


def test_box_inside_another_is_dropped_by_its_own_area():
    boxes = rows([0, 0, 100, 100, 0.9], [40, 40, 60, 60, 0.8])
    assert non_maximum(boxes, 0.7).tolist() == [0, 1]
    assert non_maximum(boxes, 0.7, of_smaller=True).tolist() == [0]


def test_overlap_at_the_limit_is_allowed():
    boxes = rows([0, 0, 10, 10, 0.9], [0, 0, 10, 5, 0.8])  # intersection over union is exactly a half
    assert non_maximum(boxes, 0.5).tolist() == [0, 1]


def test_no_boxes_are_no_problem():
    assert non_maximum(rows(), 0.5).tolist() == []
    assert refine(rows(), np.empty((0, 4), np.float32)).shape == (0, 5)
    assert squares(rows()).shape == (0, 5)


def test_offsets_are_shares_of_width_and_height():
    boxes = rows([10, 20, 30, 60, 0.5])
    moved = refine(boxes, np.array([[0.1, -0.1, 0.5, 0.25]], np.float32))
    np.testing.assert_allclose(moved, rows([12, 16, 40, 70, 0.5]))
    np.testing.assert_array_equal(boxes, rows([10, 20, 30, 60, 0.5]))


def test_squares_grow_about_the_centre():
    boxes = rows([10, 20, 30, 60, 0.5], [0, 0, 8, 2, 0.9])
    np.testing.assert_allclose(squares(boxes), rows([0, 20, 40, 60, 0.5], [0, -3, 8, 5, 0.9]))


coordinates = st.floats(-500, 500)


def test_box_measures():
    box = Box(10, 20, 40, 100)
    assert (box.width, box.height, box.area, box.centre) == (30, 80, 2400, (25, 60))


@settings(deadline=None)
@given(coordinates, coordinates, st.floats(1, 500), st.floats(1, 500))
def test_clipped_box_is_the_intersection_with_the_picture(x, y, width, height):
    clipped = Box(x, y, x + width, y + height).clipped(300, 200)
    assert 0 <= clipped.x1 <= clipped.x2 <= 300
    assert 0 <= clipped.y1 <= clipped.y2 <= 200
    shared_x = max(0.0, min(x + width, 300) - max(x, 0))
    shared_y = max(0.0, min(y + height, 200) - max(y, 0))
    assert abs(clipped.area - shared_x * shared_y) < 1e-6


def test_box_outside_the_picture_is_clipped_to_nothing():
    assert Box(310, 20, 350, 60).clipped(300, 200).area == 0
