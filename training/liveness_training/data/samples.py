"""One labelled picture or video, and the reader of `index.csv`, the format for data of one's own.

How to point it at data: a folder with an `index.csv` that has a header and a row per picture or video,

    path,domain,label,attack,subject,sequence
    alice/1.jpg,office,live,live,alice,visit1
    alice/print1.jpg,office,spoof,print,alice,attack1
    alice/replay.mp4,office,spoof,replay,alice,

`path` is relative to the folder; if it ends in one of `VIDEO_SUFFIXES` it is a video. `domain` is the capture set-up
(camera, place); training balances over it. `label` is `live` or `spoof`. `attack` is the PAI species (`print`, `replay`
…), `live` for bona fide pictures. `subject` keeps one person's pictures on one side of every split; where it is empty
the picture counts as a person of its own. `sequence` groups the frames of one recording and may be empty.

Two more columns may be there. `split` is `train`, `dev` (or `devel`) or `test`: whether the person is trained on, sets
thresholds, or is reported on. Where the column or its field is empty, a second folder of one of these names says it
(`office/train/alice/1.jpg`), and where nothing says it, people are drawn. `detail` is what is known of an attack beyond
its species, e.g. the printer.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from liveness_training.errors import TrainingError

_COLUMNS = ("path", "domain", "label", "attack", "subject", "sequence")
_LABELS = ("live", "spoof")

VIDEO_SUFFIXES = frozenset({".mov", ".avi", ".mp4", ".webm", ".mkv", ".3gp", ".m4v"})
"""How the name of a video ends, in lower case."""

Split = Literal["train", "dev", "test"]
"""Whether a person is trained on, sets thresholds, or is reported on."""

_OFFICIAL: dict[str, Split] = {"train": "train", "devel": "dev", "dev": "dev", "test": "test"}


class DataError(TrainingError):
    """The data are not as their format says; the message names the file and the row."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, a video, or one frame of a video."""

    path: str
    """Relative to the folder of the data, with forward slashes."""
    domain: str
    """Capture set-up."""
    live: bool
    """True for bona fide."""
    species: str
    """PAI species; `live` for bona fide."""
    subject: str
    """Who is shown; unique within the domain."""
    sequence: str
    """Recording that the picture is a frame of; empty where unknown."""
    split: Split | None = None
    """The data set's own split; None where it has none."""
    detail: str = ""
    """What is known of the attack beyond its species, e.g. the instrument; empty where nothing is."""
    place: int | None = None
    """Which of the T frames that are taken of a video; None for a picture, and for a video not yet taken apart."""
    turn_deg: int = 0
    """By how much a stored frame is to be turned clockwise to be upright: 0, 90, 180 or 270. It is for files that say
    nothing themselves; a rotation in the file wins."""

    @property
    def is_video(self) -> bool:
        """Whether `path` is a video; a sample with a `place` is one frame of it."""
        return PurePosixPath(self.path).suffix.lower() in VIDEO_SUFFIXES

    @property
    def key(self) -> str:
        """Unique among all samples of a run."""
        return f"{self.domain}/{self.path}" + ("" if self.place is None else f"#{self.place}")

    @property
    def recording(self) -> str:
        """Unique name of the recording that it belongs to; a picture without a sequence is one of its own."""
        # The label too: some data sets name a live recording and the attack made from it alike.
        return f"{self.domain}/{self.species}/{self.sequence or self.path}"


def read_index(root: Path) -> list[Sample]:
    """Read `root/index.csv`.

    Raises:
        DataError: it is missing, has other columns, an unknown label or split, or a row that contradicts itself
            or another one.
    """
    path = root / "index.csv"
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the header.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
                raise DataError(f"{path}: the header lacks {', '.join(missing)}")
            samples = [_sample(row, path, reader.line_num) for row in reader]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: the folder of the data needs an index.csv") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}): save it again in that encoding") from error
    if not samples:
        raise DataError(f"{path} holds no row")
    twice = [name for name, count in Counter(sample.path for sample in samples).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {twice[0]} is there twice: a picture could land in two splits")
    return samples


def _sample(row: dict[str, str], path: Path, number: int) -> Sample:
    where = f"{path}, line {number}"
    if None in row.values():
        raise DataError(f"{where}: it has fewer fields than the header")
    if row["label"] not in _LABELS:
        raise DataError(f"{where}: label is {row['label']!r}, expected live or spoof")
    live = row["label"] == "live"
    if live != (row["attack"] == "live"):
        raise DataError(f"{where}: label {row['label']!r} and attack {row['attack']!r} contradict each other")
    if not row["path"] or not row["domain"]:
        raise DataError(f"{where}: path and domain must not be empty")
    split = row.get("split") or ""
    if split and split not in _OFFICIAL:
        raise DataError(f"{where}: split is {split!r}, expected {', '.join(_OFFICIAL)} or nothing")
    return Sample(
        row["path"],
        row["domain"],
        live,
        row["attack"],
        # Each picture of unknown people is a person of its own: they can only be split by picture.
        row["subject"] or row["path"],
        row["sequence"],
        _OFFICIAL[split] if split else _split_of(row["path"]),
        row.get("detail") or "",
    )


def _split_of(path: str) -> Split | None:
    """The official split that the second folder of a path names."""
    parts = path.split("/")
    return _OFFICIAL.get(parts[1]) if len(parts) > 2 else None
