"""How scores are distributed on the data that a bundle's thresholds were chosen on. Drift is measured against it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from liveness_core.bundle.part import Part

SCORE_EDGES = tuple(step / 20 for step in range(1, 20))
"""Upper edges of the ranges that scores are counted in, here and in the service's metrics: 0.05, 0.10, … 0.95."""
_DIGITS = 6


class ScoreDistribution(Part):
    """The distribution of the scores of presentations with one label."""

    count: int = Field(ge=1)
    """Number of presentations."""
    shares: tuple[float, ...] = Field(min_length=len(SCORE_EDGES), max_length=len(SCORE_EDGES))
    """For each of `SCORE_EDGES`, the share of scores at or below it."""

    @model_validator(mode="after")
    def _is_cumulative(self) -> Self:
        if any(after < before for before, after in pairwise((0.0, *self.shares, 1.0))):
            raise ValueError("shares: must rise from 0 to 1")
        return self

    @classmethod
    def of(cls, scores: Sequence[float]) -> Self:
        """The distribution of these scores; there must be at least one."""
        at_or_below = np.searchsorted(np.sort(scores), SCORE_EDGES, side="right")
        return cls(count=len(scores), shares=tuple(round(float(n) / len(scores), _DIGITS) for n in at_or_below))


class LabelledScores(Part):
    """The distributions for bona fide presentations and for attacks, all PAI species together."""

    live: ScoreDistribution
    spoof: ScoreDistribution


class ReferenceScores(Part):
    """The distributions on the development data, scored by the variant that the thresholds were chosen with."""

    photo: LabelledScores
    clip: LabelledScores | None = None
    """None if the bundle scores photos only."""
