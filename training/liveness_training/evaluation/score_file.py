"""`scores.csv`: every score behind a run's figures, to compute these or other figures from."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Part, Protocol
from liveness_training.data.samples import Sample
from liveness_training.errors import TrainingError
from liveness_training.evaluation.levels import LEVELS, Presentation, presentations

_COLUMNS = ("level", "part", "name", "domain", "label", "species", "detail", "subject", "score")
_LABELS = ("live", "spoof")


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One line of the file."""

    level: str
    """`frame`, `video` or `clip`."""
    part: str
    """`dev`, `test/DOMAIN` or `held_out/DOMAIN`."""
    presentation: Presentation


def write_scores(
    path: Path,
    scores: Mapping[int, float],
    crops: CropSet,
    protocol: Protocol,
    clip_scores: Mapping[Clip, float] | None = None,
) -> None:
    """Write the scores of all parts at all levels; an empty score is a non-response."""
    parts = {"dev": Part(protocol.dev, ())}
    parts |= {name: part for name, part in protocol.reports.items() if name != "test"}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for name, part in parts.items():
            for level in LEVELS:
                if level == "clip" and clip_scores is None:
                    continue
                for presentation in presentations(level, crops, part.rows, part.missed, scores, clip_scores or {}):
                    sample = presentation.sample
                    label = "live" if sample.live else "spoof"
                    # All digits: near 1, where many scores lie, rounding would make different scores equal.
                    score = "" if presentation.score is None else repr(float(presentation.score))
                    about = (presentation.name, sample.domain, label, sample.species, sample.detail, sample.subject)
                    writer.writerow([level, name, *about, score])


def read_scores(path: Path) -> list[ScoreRow]:
    """Read a file that `write_scores` wrote.

    Raises:
        TrainingError: it is missing, or it is not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
                raise ValueError(f"the header lacks {', '.join(missing)}")
            return [_row(line, reader.line_num) for line in reader]
    except FileNotFoundError as error:
        raise TrainingError(f"{path} is missing: has this run been evaluated?") from error
    except (csv.Error, ValueError) as error:
        raise TrainingError(f"{path} is not a table of scores ({error}): evaluate the run again") from error


def _row(line: Mapping[str, str], number: int) -> ScoreRow:
    if None in line or None in line.values():
        raise ValueError(f"line {number} has not as many fields as the header")
    for column, known in (("level", LEVELS), ("label", _LABELS)):
        if line[column] not in known:
            raise ValueError(f"line {number}: {column} is {line[column]!r}, expected {' or '.join(known)}")
    score = float(line["score"]) if line["score"] else None
    if score is not None and not 0 <= score <= 1:
        raise ValueError(f"line {number}: score is {score}, expected 0 to 1 or nothing")
    sample = Sample(
        path=line["name"],
        domain=line["domain"],
        live=line["label"] == "live",
        species=line["species"],
        subject=line["subject"],
        sequence="",
        detail=line["detail"],
    )
    return ScoreRow(line["level"], line["part"], Presentation(line["name"], sample, score))
