from hypothesis import given, settings
from hypothesis import strategies as st

from liveness_core.types import Box

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
