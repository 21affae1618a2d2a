"""The recordings of a data set as clips, and a threshold that counts every data set the same."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from committee import Faces
from numpy.typing import NDArray

from liveness_training.evaluation.metrics import Scored

# B clips, T frames of a clip

T = 8


class Clips:
    """The recordings of a domain.

    Args:
        faces: the faces.
        domain: the domain.
    """

    def __init__(self, faces: Faces, domain: str) -> None:
        found: dict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(faces.domain == domain).tolist():
            found[faces.samples[row].recording].append(row)
        several = [sorted(rows, key=lambda row: faces.samples[row].path) for rows in found.values() if len(rows) > 1]
        lengths = [
            sorted(len(rows) for rows in several if faces.samples[rows[0]].live is live) for live in (True, False)
        ]
        self.frames = min(T, *(counts[len(counts) // 2] for counts in lengths if counts)) if all(lengths) else 0
        self.rows = [rows for rows in several if len(rows) >= self.frames > 1]
        self.live = np.array([faces.samples[rows[0]].live for rows in self.rows])
        self._faces = faces

    def taken(self, random: np.random.Generator | None = None, of: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Rows of each clip's frames, (B, T): evenly spaced, or with temporal jitter."""
        chosen = range(len(self.rows)) if of is None else of
        return np.array([self._frames(self.rows[clip], random) for clip in chosen])

    def _frames(self, rows: Sequence[int], random: np.random.Generator | None) -> list[int]:
        count, k = len(rows), self.frames
        if random is None:
            places = [(2 * part + 1) * count // (2 * k) for part in range(k)]
        else:
            length = random.uniform(max(0.5, min(1.0, k / count)), 1) * count
            start = random.uniform(0, count - length)
            spread = np.sort((np.arange(k) + random.uniform(0, 1, k)) / k)
            places = np.minimum((start + spread * length).astype(int), count - 1).tolist()
        return [rows[places[(2 * part + 1) * k // (2 * T)]] for part in range(T)]

    def scored(self, score_B: NDArray[np.float64]) -> Scored:
        """Scores of the clips, clustered by person."""
        first = [self._faces.samples[rows[0]] for rows in self.rows]
        people = [f"{sample.domain}/{sample.subject}" for sample in first]
        return Scored.of(score_B, self.live, [sample.species for sample in first], people)


def least_errors(domains: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """The threshold with the least sum of both error rates over some domains' scores."""
    candidates = np.unique(np.concatenate([scores for scores, _ in domains]))
    errors = [
        sum((scores[live] < threshold).mean() + (scores[~live] >= threshold).mean() for scores, live in domains)
        for threshold in candidates
    ]
    return float(candidates[int(np.argmin(errors))])
