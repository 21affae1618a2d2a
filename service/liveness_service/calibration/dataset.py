"""Which files there are, who is shown in them, and what each is: from folders, or from an index."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from liveness_service.calibration.faces import LIVE, CalibrationError, Case, Judged
from liveness_service.files import NoFilesError, find_files

_LABELS = (LIVE, "spoof")


def read_folder(folder: Path) -> list[Case]:
    """Live people: each folder inside this one is a person, each file beside them a person of its own.

    Raises:
        CalibrationError: there is no such folder, or no file in it.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: there is no such folder")
    try:
        names = find_files(str(folder), recursive=True)
    except NoFilesError as error:
        raise CalibrationError(f"{folder}: {error}") from error
    cases = []
    for name in names:
        inside = Path(name).relative_to(folder)
        cases.append(Case(name, inside.parts[0]))
    return cases


def read_index(index: Path) -> list[Case]:
    """Files with their label: a CSV file with the columns `path`, `label`, `species` and `subject`.

    `path` is relative to the folder of the index. `label` is `live` or `spoof`. `species` is the PAI species of an
    attack (also `attack`, as training calls it). `subject` says who is shown; where it is empty, the file counts as a
    person of its own. With a column `domain`, people of two domains are not the same. Other columns are ignored.

    Raises:
        CalibrationError: it cannot be read, lacks a column, or has a row that contradicts itself.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the header.
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if missing := [column for column in ("path", "label", "subject") if column not in columns]:
                raise CalibrationError(f"{index}: the header lacks {', '.join(missing)}")
            if "species" not in columns and "attack" not in columns:
                raise CalibrationError(f"{index}: the header lacks species")
            cases = [_case(row, index.parent, f"{index}, line {reader.line_num}") for row in reader]
    except OSError as error:
        raise CalibrationError(f"{index}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CalibrationError(f"{index}: not a CSV file in UTF-8 ({error}): save it again as one") from error
    if not cases:
        raise CalibrationError(f"{index}: it has no rows")
    return cases


def _case(row: dict[str, str | None], folder: Path, where: str) -> Case:
    if None in row.values() or None in row:
        raise CalibrationError(f"{where}: it has not as many fields as the header")
    given = {name: (value or "").strip() for name, value in row.items()}
    path, label = given["path"], given["label"]
    species = given.get("species") or given.get("attack", "")
    if not path:
        raise CalibrationError(f"{where}: path is empty")
    if label not in _LABELS:
        raise CalibrationError(f"{where}: label is {label!r}, expected live or spoof")
    if label == LIVE and species not in ("", LIVE):
        raise CalibrationError(f"{where}: label live and species {species!r} contradict each other")
    if label != LIVE and species in ("", LIVE):
        raise CalibrationError(f"{where}: an attack needs its species, e.g. print or replay")
    person = given["subject"] or path
    domain = given.get("domain", "")
    return Case(str(folder / path), f"{domain}/{person}" if domain else person, LIVE if label == LIVE else species)


def without_copies(judged: Sequence[Judged]) -> tuple[list[Judged], int]:
    """The files without those whose content is there before, and how many those were.

    Raises:
        CalibrationError: the same file has two labels or shows two people.
    """
    kept: dict[str, Judged] = {}
    for each in judged:
        first = kept.setdefault(each.sha256, each)
        if (first.case.person, first.case.species) != (each.case.person, each.case.species):
            raise CalibrationError(
                f"{each.case.path} has the same content as {first.case.path}, but another person or label: one of the "
                "two is wrong"
            )
    return list(kept.values()), len(judged) - len(kept)


def data_hash(judged: Sequence[Judged]) -> str:
    """SHA-256 over content, person and species of all files, in any order: the same for the same data anywhere."""
    lines = sorted(f"{each.sha256} {each.case.species} {each.case.person}\n" for each in judged)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
