"""A threshold from live people alone: where a chosen share of them is refused."""

import math
from dataclasses import dataclass

import numpy as np

from liveness_service.calibration.faces import Scores, TooFewPeopleError
from liveness_service.calibration.intervals import further_interval, order_interval, people_for_share

FEWEST_PEOPLE = 20
"""Fewer people say too little about the others: of 20 the interval already reaches to 14 % where 5 % is asked for."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold, and how many people it refuses."""

    threshold: float
    """A face is live where its score is at or above this value."""
    share: float
    """The share of people that was to be refused."""
    people: int
    """How many live people it was chosen among."""
    files: int
    rank: float
    """People with scores at or below the threshold, each counted by their files; what the intervals are made of."""
    refused: float
    """People of these data whom the threshold refuses, each counted by their files."""
    expected: float
    """The share of all people of this camera that is refused, on average over such choices."""
    low: float
    """The share of all people lies from here …"""
    high: float
    """… to here, with 95 % confidence."""

    def of_further(self, people: int) -> tuple[int, int]:
        """Between how many and how many of so many other people are refused, with at least 95 % probability."""
        return further_interval(self.rank, self.people, people)


def choose(live: Scores, share: float) -> Choice:
    """The highest score, as threshold, that refuses no more than this share of all people on average.

    Of n people with a picture each it is the k-th lowest score, k = ⌊share · (n + 1)⌋: the share of all people below
    it is k / (n + 1) on average, whatever the distribution. The share that is refused of these n people themselves,
    (k - 1) / n, is smaller: the n + 1st person may score below all of them.

    Args:
        live: scores of live files, at least one.
        share: share of people to be refused, above 0 and below 1.

    Raises:
        TooFewPeopleError: fewer than 20 people, or than the share takes.
    """
    people = live.people
    check_people(people, share)
    allowed = share * (people + 1) + _ROUNDING
    thresholds, rank = _ranks(live)
    fits = np.flatnonzero(rank <= allowed)
    # Where many share the lowest score, no threshold but that one refuses few enough: it refuses nobody of these.
    chosen = int(fits[-1]) if len(fits) else 0
    own_rank = float(rank[chosen]) if len(fits) else 1.0
    threshold = float(thresholds[chosen])
    low, high = order_interval(own_rank, people)
    return Choice(
        threshold=threshold,
        share=share,
        people=people,
        files=len(live.score_N),
        rank=own_rank,
        refused=live.below(threshold),
        expected=own_rank / (people + 1),
        low=low,
        high=high,
    )


def check_people(people: int, share: float) -> None:
    """Refuse a share that so few people say nothing about.

    Raises:
        TooFewPeopleError: there are too few.
    """
    needed = max(FEWEST_PEOPLE, people_for_share(share))
    if people < needed:
        least = math.ceil(1000 / (people + 1)) / 10
        instead = f"; {people} are enough for --refused {least:g}" if people >= FEWEST_PEOPLE else ""
        raise TooFewPeopleError(
            f"{people} live people have a score, and a threshold that refuses {100 * share:g} % of people takes "
            f"{needed}{instead}"
        )


def _ranks(live: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Each different score, from the lowest, and how many people have a score at or below it."""
    order = np.argsort(live.score_N, kind="stable")
    ordered = live.score_N[order]
    ends = np.flatnonzero(np.r_[np.diff(ordered) != 0, True])
    return ordered[ends], np.cumsum(live.weights()[order])[ends]
