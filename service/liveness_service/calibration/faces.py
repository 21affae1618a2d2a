"""What is calibrated on: files with their label and person, and the scores that the service gave them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_service.submission import Endpoint

LIVE = "live"
"""The species of bona fide files."""


class CalibrationError(ValueError):
    """A calibration cannot be made; the message says what to check."""


class TooFewPeopleError(CalibrationError):
    """There are too few people for what is asked; the message says how many it takes."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file of the data."""

    path: str
    """Where the file is."""
    person: str
    """Who is shown. Files of one person are not independent of each other, so people are what is counted."""
    species: str = LIVE
    """PAI species, e.g. `print`; `live` for bona fide."""

    @property
    def live(self) -> bool:
        """Whether it is bona fide."""
        return self.species == LIVE


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said of a file, apart from any threshold."""

    endpoint: Endpoint
    """Whether it was taken for a photo or a clip."""
    score: float | None = None
    """Probability of live, in [0, 1]; None where there was no score."""
    reasons: tuple[str, ...] = ()
    """Why it is undetermined, or the code of the problem; empty where there is a score."""
    detail: str = ""
    """What was wrong with a file that could not be read; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A file with its answer."""

    case: Case
    answer: Answer
    sha256: str
    """Hash of the file, by which its answer is remembered."""


# N files with a score


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of the files of one kind, photos or clips."""

    score_N: NDArray[np.float64]
    species_N: NDArray[np.str_]
    person_N: NDArray[np.str_]

    @classmethod
    def of(cls, judged: Sequence[Judged], endpoint: Endpoint) -> "Scores":
        """The scores of the files of this kind that have one."""
        rows = [(each.case, each.answer.score) for each in judged if each.answer.endpoint is endpoint]
        kept = [(case, score) for case, score in rows if score is not None]
        return cls(
            np.array([score for _, score in kept], np.float64),
            np.array([case.species for case, _ in kept], np.str_),
            np.array([case.person for case, _ in kept], np.str_),
        )

    def part(self, rows_N: NDArray[np.bool_]) -> "Scores":
        """The files where the mask is true."""
        return Scores(self.score_N[rows_N], self.species_N[rows_N], self.person_N[rows_N])

    @property
    def live(self) -> "Scores":
        """The bona fide files."""
        return self.part(self.species_N == LIVE)

    @property
    def attacks(self) -> "Scores":
        """The attacks."""
        return self.part(self.species_N != LIVE)

    @property
    def species(self) -> list[str]:
        """The PAI species, sorted."""
        return sorted({*self.species_N.tolist()} - {LIVE})

    def of_species(self, species: str) -> "Scores":
        """The files of one species."""
        return self.part(self.species_N == species)

    @property
    def people(self) -> int:
        """How many people are shown."""
        return len(set(self.person_N.tolist()))

    def weights(self) -> NDArray[np.float64]:
        """Weight of each file, shape (N,): every person weighs 1 in each species, whatever the number of files."""
        keys = np.array([f"{a}\n{b}" for a, b in zip(self.species_N, self.person_N, strict=True)], np.str_)
        _, which_N, count = np.unique(keys, return_inverse=True, return_counts=True)
        return np.asarray(1 / count[which_N], np.float64)

    def below(self, threshold: float) -> float:
        """How many people are refused at this threshold: of a person's files the share that scores below it."""
        return float(self.weights()[self.score_N < threshold].sum())

    def share_below(self, threshold: float) -> float:
        """The share of people that is refused at this threshold, each by the share of their files."""
        return self.below(threshold) / max(self.people, 1)
