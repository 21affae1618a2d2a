"""A file of sealed lines that is rotated without breaking its chain, however many processes write to it.

Beside `audit.jsonl` lies `.audit.jsonl.chain`. It holds the head of the chain, and its lock is the lock of the chain:
it stays where it is while the log is moved, removed or compressed. So whoever begins a new file knows the last line of
the old one, and a log whose end was cut off is shorter than its head says.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from liveness_service.audit.chain import Head, link_of, new_chain, seal
from liveness_service.audit.file import LineFile

_HEAD_BYTES: Final = 256
"""Size of the file with the head. It never changes, so that a full disk cannot keep the head from being written."""
_DAY = re.compile(rb'\{"time": "(\d{4}-\d\d-\d\d)T')


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file ends and the next one begins. With the defaults never; other programs may still move the file."""

    max_bytes: int | None = None
    """Most bytes of a file. Lines that are written together stay together, so the first ones may be more."""
    daily: bool = False
    """Whether each day (UTC, by the time of the lines) has a file of its own."""


class ChainedFile:
    """Appends lines and seals them. One thread uses it; other processes may write to the same file in the same way."""

    def __init__(self, path: Path, begin: bytes, *, key: bytes | None = None, rotation: Rotation | None = None) -> None:
        """Remember the file; it is not opened yet.

        Args:
            path: the file. A pipe or a device works too; every process then has a chain of its own.
            begin: how every line begins, see `LineFile`.
            key: the secret of the seals; None for seals that everybody can make.
            rotation: when a new file begins; None for never.
        """
        self._path = path
        self._file = LineFile(path, begin)
        self._head_path = head_path(path)
        self._key = key
        self._rotation = rotation or Rotation()
        self._in_pipe: Head | None = None

    def append(self, lines: bytes) -> None:
        """Seal whole lines, write them, and wait until they are on the disk.

        Raises:
            OSError: the lines could not be written; the file is unchanged.
        """
        if _is_pipe(self._path):
            sealed, head = self._sealed(lines, self._in_pipe or new_chain())
            self._file.append(sealed)
            self._in_pipe = head
            return
        with self._locked_head() as fd:
            size, last = self._file.peek()
            before = _later(_read_head(fd), last)
            sealed, head = self._sealed(lines, before)
            if size and self._ends(size + len(sealed), last, lines):
                self._path.rename(_rotated_name(self._path, before))
            self._file.append(sealed)
            with suppress(OSError):  # the lines are written: they tell the head too, as long as the file is there
                os.pwrite(fd, _as_bytes(head), 0)

    def check(self) -> None:
        """Find out whether the disk would take one more line. What the file holds, and its size, stay as they are.

        Raises:
            OSError: the disk refuses.
        """
        if _is_pipe(self._path):
            self._file.check()
            return
        with self._locked_head():
            self._file.check()

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        self._file.close()

    def _sealed(self, lines: bytes, head: Head) -> tuple[bytes, Head]:
        sealed = []
        for line in lines.splitlines(keepends=True):
            whole, head = seal(line, head, self._key)
            sealed.append(whole)
        return b"".join(sealed), head

    def _ends(self, size: int, last: bytes, lines: bytes) -> bool:
        """Whether the file is full or of another day. `size` is the size that it would have."""
        if self._rotation.max_bytes is not None and size > self._rotation.max_bytes:
            return True
        return self._rotation.daily and (before := _day(last)) is not None and before != _day(lines)

    @contextmanager
    def _locked_head(self) -> Iterator[int]:
        """Hold the lock of the chain; gives the descriptor of the file with its head."""
        import fcntl  # not on Windows, where there is no audit log

        while True:
            fd = os.open(self._head_path, os.O_RDWR | os.O_CREAT, 0o640)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                there = False
                with suppress(FileNotFoundError):
                    there = os.path.samestat(self._head_path.stat(), os.fstat(fd))
                if not there:
                    continue  # somebody removed it while this waited
                if os.fstat(fd).st_size < _HEAD_BYTES and os.pwrite(fd, b" " * _HEAD_BYTES, 0) < _HEAD_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                yield fd
                return
            finally:
                os.close(fd)  # unlocks it too


def head_path(path: Path) -> Path:
    """Where the head of the chain of an audit log lies."""
    return path.with_name(f".{path.name}.chain")


def read_head(path: Path) -> Head | None:
    """The head of the chain that the file at `path` is written with; None where none is known.

    Raises:
        OSError: the file with the head is there and cannot be read.
    """
    with suppress(FileNotFoundError), head_path(path).open("rb") as file:
        return _parsed(file.read(_HEAD_BYTES))
    return None


def _read_head(fd: int) -> Head | None:
    return _parsed(os.pread(fd, _HEAD_BYTES, 0))


def _parsed(content: bytes) -> Head | None:
    """The head; None where it was never written, or a crash left half of it."""
    try:
        members = json.loads(content)
        return Head(str(members["chain"]), int(members["seq"]), str(members["hash"]))
    except (ValueError, KeyError, TypeError):
        return None


def _as_bytes(head: Head) -> bytes:
    return json.dumps(asdict(head)).encode().ljust(_HEAD_BYTES - 1) + b"\n"


def _later(known: Head | None, last: bytes) -> Head:
    """The head to go on from: that of the file's last line, unless the lines behind it were cut off."""
    link = link_of(last)
    if link is None:
        return known or new_chain()
    if known is not None and known.chain == link.head.chain and known.seq > link.head.seq:
        return known
    return link.head


def _day(lines: bytes) -> bytes | None:
    found = _DAY.match(lines)
    return None if found is None else found[1]


def _rotated_name(path: Path, head: Head) -> Path:
    """A name that says when the file ended and with which line; names of one log sort by time."""
    return path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{head.seq:010}")


def _is_pipe(path: Path) -> bool:
    """Whether there is something at this path that is no file: a pipe or a device."""
    with suppress(OSError):
        return not stat.S_ISREG(path.stat().st_mode)
    return False
