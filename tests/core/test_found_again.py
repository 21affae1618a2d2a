"""Blocks of a glance that are found again: those that are found at first decide as all do."""

import numpy as np
import pytest

from liveness_core.clips import glances
from support.clips import nobody, person, somebody_else


def luma(picture):
    return np.ascontiguousarray(picture[::2, ::2, 1])


@pytest.mark.parametrize("other", [person, somebody_else, nobody], ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("moved", [0, 3, 9, 20], ids=lambda moved: f"{moved} px")
def test_more_than_half_of_the_blocks_decide_as_all_do(other, moved):
    before, after = luma(person(0)), np.roll(luma(other(6)), moved, 1)
    every = glances._found_again(before, after)
    enough = glances._found_again(before, after, enough=glances._LEAST_BLOCKS, most_needed=0.5)
    assert (np.median(every) < glances._LEAST_BLOCKS) == (np.median(enough) < glances._LEAST_BLOCKS)
    if np.median(every) > glances._LEAST_BLOCKS:
        # What stays in its place is known without a search.
        assert len(every) / 2 < len(enough) < 0.6 * len(every) + 1 or not moved
    else:
        assert (every == enough).all()


@pytest.mark.parametrize("other", [person, somebody_else, nobody], ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("moved", [0, 3, 9, 20], ids=lambda moved: f"{moved} px")
def test_few_lost_blocks_decide_as_all_do(other, moved):
    before, after = luma(person(0)), np.roll(luma(other(6)), moved, 1)
    every = glances._found_again(before, after)
    found = glances._found_again(before, after, enough=glances._LOST_BLOCK, most_needed=1 - glances._MOST_LOST)
    lost, lost_at_first = ((values < glances._LOST_BLOCK).mean() >= glances._MOST_LOST for values in (every, found))
    assert lost == lost_at_first
