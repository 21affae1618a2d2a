"""Helpers of the data sets' readers: find the videos in folders, and refuse what does not belong by its name."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from liveness_training.data.samples import DataError, Sample

_SIDE_SUFFIXES = frozenset({".txt", ".face", ".md", ".pdf"})
"""Endings of files that lie beside the videos: eye positions, face boxes, lists and notes."""
_SIDE_NAMES = frozenset({"Thumbs.db", "desktop.ini"})


def subfolder(root: Path, name: str) -> Path:
    """`root/name`.

    Raises:
        DataError: it does not exist.
    """
    folder = root / name
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: the data set's folder has to be the one that holds {name}")
    return folder


def videos(root: Path, folder: Path, pattern: re.Pattern[str], expected: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the videos below a folder, in the order of their paths.

    Side files (`.txt`, `.face`, notes, hidden files such as `.DS_Store` and `._name`) are ignored.

    Args:
        root: folder of the data set.
        folder: folder to search, with all its subfolders.
        pattern: pattern of a path relative to `folder`, with forward slashes.
        expected: the pattern in words, for the error message.

    Yields:
        The path relative to `root`, with forward slashes, and the match of the pattern.

    Raises:
        DataError: there is a file of another name, or no video at all.
    """
    found = False
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        match = pattern.fullmatch(name)
        if match is None:
            raise DataError(f"{file}: unknown file; expected {expected} in {folder}")
        found = True
        yield file.relative_to(root).as_posix(), match
    if not found:
        raise DataError(f"{folder} holds no video: expected {expected}")


def _files(folder: Path) -> list[Path]:
    # followlinks: data sets are often linked together from several disks, and nobody would notice an ignored link.
    walked = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(file for file in walked if not _is_side_file(file))


def _is_side_file(file: Path) -> bool:
    return file.name.startswith(".") or file.name in _SIDE_NAMES or file.suffix.lower() in _SIDE_SUFFIXES


def refuse_protocol(domain: str, protocol: str | None) -> None:
    """Refuse a protocol for a data set that has none.

    Raises:
        DataError: a protocol is asked for.
    """
    if protocol is not None:
        raise DataError(f"{domain} has no protocols here, so {protocol!r} is not one: leave it out")


def refuse_twice(root: Path, samples: Sequence[Sample]) -> None:
    """Refuse a recording that lies in two folders of a data set.

    Raises:
        DataError: two videos are the same recording.
    """
    recordings = Counter(sample.recording for sample in samples)
    for sample in samples:
        if recordings[sample.recording] > 1:
            raise DataError(f"{root / sample.path} is there more than once below {root}: keep one copy")
