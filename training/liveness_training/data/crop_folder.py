"""The folder of a crop cache, filled chunk by chunk so that it can be interrupted at any time.

`crops.npy` has room for every sample and holds the crops of those with a face, one after the other. `found.jsonl` has a
line for each chunk that says in which samples a face was found. It is written after the chunk's crops are on the disk:
crops behind the last complete line do not count and are written again.
"""

import fcntl
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveness_training.data.cutting import CutChunk
from liveness_training.data.samples import DataError

# N samples, M faces found, V views, S crop size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """How far a folder has been filled."""

    found: tuple[bool | None, ...] = ()
    """For each of the samples so far whether it has a crop; None for a frame that its video does not have."""
    unreadable: tuple[str, ...] = ()
    """Paths of files that could not be decoded."""
    line_bytes: int = 0
    """Length of the complete lines of found.jsonl in bytes."""

    @property
    def faces(self) -> int:
        """Number of faces found, the rows of the crops."""
        return sum(has is True for has in self.found)


class CropFolder:
    """One folder of crops.

    Args:
        path: the folder.
        shape: shape of the crops if every sample has a face, (N, V, S, S, 3).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int, int]) -> None:
        self.path = path
        self._shape = shape
        self._crops = path / "crops.npy"
        self._found = path / "found.jsonl"

    def done(self) -> Done:
        """What the folder holds; nothing where a file is missing or has another shape."""
        if self._map() is None or not self._found.exists():
            return Done()
        found: list[bool | None] = []
        unreadable: list[str] = []
        length = 0
        for line in self._found.read_bytes().splitlines(keepends=True):
            if (entry := _entry(line)) is None:
                break
            found.extend(entry["found"])
            unreadable.extend(entry["unreadable"])
            length += len(line)
        return Done(tuple(found), tuple(unreadable), length) if len(found) <= self._shape[0] else Done()

    def crops(self, done: Done) -> NDArray[np.uint8]:
        """The crops, shape (M, V, S, S, 3), memory-mapped.

        Raises:
            DataError: they have been deleted in the meantime.
        """
        crops = self._map()
        if crops is None:
            raise DataError(f"{self._crops} is gone: prepare the data again")
        return crops[: done.faces]

    @contextmanager
    def filling(self) -> Iterator["Filling"]:
        """Continue to fill the folder. Waits while another process fills it.

        Raises:
            DataError: the disk has too little room, or cannot be written to or locked.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            found = self._found.open("ab", buffering=0)
        except OSError as error:
            raise DataError(f"{self._found} cannot be written: {error.strerror}") from error
        with found:
            _lock(found, self.path)
            done = self.done()
            self._refuse_full_disk(done)
            crops = self._map()
            if crops is None:
                crops = self._create()
            found.truncate(done.line_bytes)
            # Unbuffered: a failure to write shows at once, and not again when the file is closed.
            with self._crops.open("r+b", buffering=0) as file:
                yield Filling(done, file, found, crops.offset)

    def _map(self) -> np.memmap | None:
        try:
            crops = np.load(self._crops, mmap_mode="r")
        except (FileNotFoundError, EOFError, ValueError):
            return None
        return crops if crops.shape == self._shape and crops.dtype == np.uint8 else None

    def _create(self) -> np.memmap:
        # Renamed when it has its length, so that half a file is never taken for a whole one. The file is sparse.
        unnamed = self._crops.with_suffix(".partial")
        try:
            crops = np.lib.format.open_memmap(unnamed, mode="w+", dtype=np.uint8, shape=self._shape)
            unnamed.replace(self._crops)
        except OSError as error:
            raise DataError(f"{unnamed} cannot be written: {error.strerror}") from error
        return crops

    def _refuse_full_disk(self, done: Done) -> None:
        needed = (self._shape[0] - len(done.found)) * math.prod(self._shape[1:])
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise DataError(
                f"{self.path}: the crops need up to {needed / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free: "
                "make room, or put the cache on another disk"
            )


class Filling:
    """A folder that this process alone writes to.

    Args:
        done: what the folder already holds.
        crops: crops.npy, open for writing without a buffer.
        found: found.jsonl, open for appending without a buffer.
        start: offset of the first crop in crops.npy, in bytes.
    """

    def __init__(self, done: Done, crops: FileIO, found: FileIO, start: int) -> None:
        self.done = done
        self._crops = crops
        self._found = found
        self._start = start
        self._faces = done.faces

    def append(self, chunk: CutChunk) -> None:
        """Add a chunk; once this returns, the chunk survives a kill and a power cut.

        Raises:
            DataError: the disk is full or broken.
        """
        crops_MVSS3 = chunk.crops_MVSS3
        line = json.dumps({"found": chunk.found, "unreadable": chunk.unreadable}) + "\n"
        try:
            # Not through a memory map, where a full disk kills the process without a word.
            self._crops.seek(self._start + self._faces * math.prod(crops_MVSS3.shape[1:]))
            _write(self._crops, crops_MVSS3.tobytes())
            _write(self._found, line.encode())
        except OSError as error:
            raise DataError(
                f"{self._crops.name} cannot be written: {error.strerror}; once that is mended, the same command goes on"
            ) from error
        self._faces += len(crops_MVSS3)


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of found.jsonl; None where it is incomplete."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        whole = {*entry["found"]} <= {True, False, None} and isinstance(entry["unreadable"], list)
    except (ValueError, KeyError, TypeError):
        return None
    return entry if whole else None


def _lock(file: FileIO, folder: Path) -> None:
    """Lock the folder for this process; the system releases the lock however the process ends."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("another process cuts the same crops into %s: waiting for it", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise DataError(f"{folder} cannot be locked ({error.strerror}): put the cache on a local disk") from error


def _write(file: FileIO, data: bytes) -> None:
    """Write, and wait until it is on the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
