import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from liveness_core.clips import ClipSpec, Sampled, sample
from liveness_core.video import VideoFrame


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


class TestNeighbours:
    @given(st.integers(2, 64), st.integers(1, 100_000))
    def test_they_are_of_their_own_part_and_nearest_first(self, frames, total):
        spec = ClipSpec(frames=frames)
        middles = spec.positions(total)
        seen = []
        for part, (middle, nearby) in enumerate(zip(middles, spec.neighbours(range(total), total), strict=True)):
            assert middle not in nearby
            assert len(nearby) <= 6
            assert all(part * total <= position * frames < (part + 1) * total for position in nearby)
            distances = [abs(position - middle) for position in nearby]
            assert distances == sorted(distances)
            seen += nearby
        assert len(seen) == len(set(seen))

    def test_they_reach_through_the_whole_part(self):
        first = ClipSpec(frames=8).neighbours(range(560), 560)[0]
        assert first == (25, 45, 15, 55, 5, 65)

    def test_a_part_of_few_frames_offers_them_all(self):
        assert ClipSpec(frames=2).neighbours(range(6), 6) == ((0, 2), (3, 5))
        assert ClipSpec(frames=8).neighbours(range(8), 8) == ((),) * 8


class Recorded:
    """Stands for a video some of whose frames cannot be decoded; it notes which frames it was asked for."""

    def __init__(self, frames, broken=()):
        self.frames = frames
        self.duration_s = frames / 10
        self.broken = set(broken)
        self.affordable = None
        self.asked = []

    def time_s(self, position):
        return position / 10

    def read(self, positions, *, optional=False, small=()):
        if optional and self.affordable is not None:
            positions = positions[: self.affordable]
        for position in sorted(set(positions) - self.broken):
            self.asked.append(position)
            yield VideoFrame(position, position / 10, np.zeros((2, 2, 3), np.uint8), 2, 2)


SPEC = ClipSpec(frames=4)


class TestSample:
    """Forty frames in four parts, whose middles are 5, 15, 25 and 35."""

    def test_the_middles_are_taken_where_they_will_do(self):
        video = Recorded(40)
        taken = sample(video, SPEC, lambda frame: frame.position * 100)
        assert taken == tuple(Sampled(position, position * 100) for position in (5, 15, 25, 35))
        assert video.asked == [5, 15, 25, 35]

    def test_the_nearest_neighbour_that_will_do_stands_in(self):
        useless = {15, 14, 16}
        taken = sample(Recorded(40), SPEC, lambda frame: None if frame.position in useless else frame.position)
        assert [frame.position for frame in taken] == [5, 12, 25, 35]

    def test_so_it_does_for_a_frame_that_cannot_be_decoded(self):
        taken = sample(Recorded(40, broken=[25, 24]), SPEC, lambda frame: frame.position)
        assert [frame.position for frame in taken] == [5, 15, 26, 35]

    def test_no_part_lends_a_frame_to_another(self):
        taken = sample(Recorded(40), SPEC, lambda frame: None if 10 <= frame.position < 20 else frame.position)
        assert [frame and frame.position for frame in taken] == [5, None, 25, 35]

    def test_a_clip_of_no_use_costs_a_bounded_number_of_looks(self):
        looks = []
        assert sample(Recorded(4000), SPEC, looks.append) == (None,) * 4
        assert len(looks) == len({frame.position for frame in looks}) == 4

    @pytest.mark.parametrize(("usable", "each"), [(1, 2), (2, 4), (3, 6)])
    def test_the_more_parts_lack_a_frame_the_fewer_are_tried_for_each(self, usable, each):
        looks = []

        def look(frame):
            looks.append(frame.position)
            return True if len(looks) <= usable else None

        taken = sample(Recorded(4000), SPEC, look)
        assert [frame is not None for frame in taken] == [True] * usable + [False] * (4 - usable)
        assert len(looks) == len(set(looks)) == 4 + each * (4 - usable)
        assert len(looks) <= 3 * 4

    def test_one_usable_middle_frame_is_enough_to_look_further(self):
        middles = {5, 15, 25}
        taken = sample(Recorded(40), SPEC, lambda frame: None if frame.position in middles else frame.position)
        assert None not in taken

    def test_damaged_middle_frames_are_no_reason_to_give_up(self):
        taken = sample(Recorded(40, broken=[5, 15, 25, 35]), SPEC, lambda frame: frame.position)
        assert [frame.position for frame in taken] == [4, 14, 24, 34]

    def test_what_may_not_be_decoded_any_more_is_not_tried(self):
        video = Recorded(40)
        video.affordable = 1
        taken = sample(video, SPEC, lambda frame: None if frame.position in {5, 15} else frame.position)
        assert [frame and frame.position for frame in taken] == [4, None, 25, 35]

    def test_nothing_farther_than_what_was_found_is_looked_at(self):
        looked = []

        def look(frame):
            looked.append(frame.position)
            return None if frame.position == 15 else True

        sample(Recorded(40), SPEC, look)
        assert set(looked) - {5, 15, 25, 35} <= {11, 12, 14}

    def test_a_short_clip_gives_frames_more_than_once(self):
        taken = sample(Recorded(2), SPEC, lambda frame: frame.position)
        assert [frame.position for frame in taken] == [0, 0, 1, 1]

    def test_a_part_with_a_turned_head_is_made_up_for_by_others(self):
        video = Recorded(40)
        taken = sample(
            video, SPEC, lambda frame: None if 10 <= frame.position < 20 else frame.position, is_away=lambda _: False
        )
        positions = [frame.position for frame in taken]
        assert {5, 25, 35} < {*positions}
        assert positions == sorted(positions)
        assert not any(10 <= position < 20 for position in positions)


def test_the_middles_lie_on_the_clock_and_not_on_the_counter():
    # Sixty frames in the first second, then one a second.
    times = [*(number / 60 for number in range(60)), 1.0, 2.0, 3.0, 4.0]
    middles = ClipSpec(frames=4).middles(times, 5.0)
    assert [times[middle] for middle in middles] == [pytest.approx(37 / 60), 1.0, 3.0, 4.0]
