"""One labelled picture or video, and the reader of `index.csv`, the format for your own data.

How to point it at data: a folder with an `index.csv` that has a header and a row for each picture or video,

    path,domain,label,attack,subject,sequence
    alice/1.jpg,office,live,live,alice,visit1
    alice/print1.jpg,office,spoof,print,alice,attack1
    alice/replay.mp4,office,spoof,replay,alice,

`path` is relative to the folder; a path that ends in one of `VIDEO_SUFFIXES` is a video. `domain` is the capture
set-up (camera, place); training draws every domain equally often. `label` is `live` or `spoof`. `attack` is the PAI
species (`print`, `replay` …), `live` for bona fide pictures. `subject` keeps one person's pictures on one side of every
split; where it is empty the picture counts as a person of its own. `sequence` groups the frames of one recording and
may be empty.

Two more columns are optional. `split` is `train`, `dev` (or `devel`) or `test`: whether the person is trained on, sets
thresholds, or is reported on. Where it is empty or missing, the second folder of the path counts if it has one of these
names (`office/train/alice/1.jpg`); otherwise people are assigned to the splits at random. `detail` is what is known of
an attack beyond its species, e.g. the printer.
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
"""Endings of the names of videos, in lower case."""

Split = Literal["train", "dev", "test"]
"""Whether a person is trained on, sets thresholds, or is reported on."""

_OFFICIAL: dict[str, Split] = {"train": "train", "devel": "dev", "dev": "dev", "test": "test"}


class DataError(TrainingError):
    """The data do not follow their format; the message names the file and, where there is one, the row."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, a video, or one frame of a video."""

    path: str
    """Relative to the folder of the data, with forward slashes."""
    domain: str
    """Capture set-up, e.g. a camera or a data set."""
    live: bool
    """True for bona fide."""
    species: str
    """PAI species; `live` for bona fide."""
    subject: str
    """Who is shown; unique within the domain."""
    sequence: str
    """Recording that the picture belongs to; empty where unknown."""
    split: Split | None = None
    """The data set's own split; None where it has none."""
    detail: str = ""
    """What is known of the attack beyond its species, e.g. the instrument; empty where nothing is."""
    frame: int | None = None
    """Index among the T frames that are taken of a video; None for a picture, and for a video as a whole."""
    turn_deg: int = 0
    """Clockwise turn that makes a stored frame upright: 0, 90, 180 or 270 degrees. It is for files that do not say so
    themselves; a rotation in the file wins."""

    @property
    def is_video(self) -> bool:
        """Whether `path` is a video; a sample with a `frame` is one frame of it."""
        return PurePosixPath(self.path).suffix.lower() in VIDEO_SUFFIXES

    @property
    def key(self) -> str:
        """Unique among all samples of a run."""
        return f"{self.domain}/{self.path}" + ("" if self.frame is None else f"#{self.frame}")

    @property
    def recording(self) -> str:
        """Unique name of its recording; a picture without a sequence is a recording of its own."""
        # With the species: some data sets give a live recording and the attack made from it the same name.
        return f"{self.domain}/{self.species}/{self.sequence or self.path}"


def read_index(root: Path) -> list[Sample]:
    """Read `root/index.csv`.

    Raises:
        DataError: it is missing, lacks columns, has an unknown label or split, or a row that contradicts itself or
            another one.
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
