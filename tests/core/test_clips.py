import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from liveness_core.clips import ClipSpec


@pytest.mark.parametrize(
    ("frames", "total", "positions"),
    [
        (8, 8, (0, 1, 2, 3, 4, 5, 6, 7)),
        (8, 16, (1, 3, 5, 7, 9, 11, 13, 15)),
        (8, 80, (5, 15, 25, 35, 45, 55, 65, 75)),
        (4, 10, (1, 3, 6, 8)),
        (8, 3, (0, 0, 0, 1, 1, 2, 2, 2)),
        (2, 1, (0, 0)),
    ],
)
def test_frames_are_the_middles_of_equal_parts(frames, total, positions):
    assert ClipSpec(frames=frames).positions(total) == positions


@given(st.integers(2, 64), st.integers(1, 100_000))
def test_positions_are_inside_in_order_and_evenly_spread(frames, total):
    positions = ClipSpec(frames=frames).positions(total)
    assert len(positions) == frames
    assert positions[0] >= 0
    assert positions[-1] < total
    steps = [later - earlier for earlier, later in itertools.pairwise(positions)]
    assert max(steps) - min(steps) <= 1
    if total >= frames:
        assert min(steps) >= 1  # no frame twice
    # As far from the start as from the end, to a frame: neither the first nor the last of it is favoured.
    assert abs(positions[0] - (total - 1 - positions[-1])) <= 1


@pytest.mark.parametrize("total", [0, -1])
def test_clip_without_frames_is_refused(total):
    with pytest.raises(ValueError, match="without frames"):
        ClipSpec().positions(total)


def test_default_is_the_papers():
    assert ClipSpec().frames == 8


@pytest.mark.parametrize("fields", [{"frames": 1}, {"frames": 65}, {"frame": 8}])
def test_spec_that_makes_no_clip_is_refused(fields):
    with pytest.raises(ValidationError):
        ClipSpec(**fields)
