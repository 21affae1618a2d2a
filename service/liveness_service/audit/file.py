"""A file that grows by whole lines, whoever else writes to it, rotates it or fills its disk."""

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":  # where there is no audit log
    import fcntl

_LONGEST_TAIL = 64 * 1024
"""How far back the beginning of an unfinished line is looked for."""


class LineFile:
    """Appends lines, all of them or none. For one thread; other processes may have the same file."""

    def __init__(self, path: Path, begin: bytes) -> None:
        """`begin` is how every line begins: what was left by a crash is told from a file of somebody else by it."""
        self._path = path
        self._begin = begin
        self._fd: int | None = None

    def append(self, lines: bytes) -> None:
        """Write lines and wait until the disk has them. Without lines, check that the file can be opened.

        Raises:
            OSError: they could not be written; the file is as it was.
        """
        fd = self._locked()
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._append_to_file(fd, lines)
            else:  # a pipe or a device: nothing to cut or to sync
                _write(fd, lines)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _locked(self) -> int:
        """The file that has the name now, locked. Until the lock is held it may be rotated, then the next one is."""
        while True:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            has_the_name = False
            try:
                with suppress(FileNotFoundError):
                    has_the_name = os.path.samestat(self._path.stat(), os.fstat(self._fd))
                if has_the_name:
                    return self._fd
            finally:
                if not has_the_name:
                    self.close()  # which unlocks it

    def _append_to_file(self, fd: int, lines: bytes) -> None:
        end = self._end_of_last_line(fd)
        try:
            _write(fd, lines)
            os.fsync(fd)
        except OSError:
            with suppress(OSError):  # the first error says more
                os.ftruncate(fd, end)
            raise

    def _end_of_last_line(self, fd: int) -> int:
        """Where the next line begins. What a crash left unfinished was never answered, and is cut off."""
        size = os.fstat(fd).st_size
        if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
            return size
        start = max(0, size - _LONGEST_TAIL)
        _, _, tail = os.pread(fd, size - start, start).rpartition(b"\n")
        if tail[: len(self._begin)] != self._begin[: len(tail)]:
            raise OSError(errno.EINVAL, "its last line is not finished and none of this log")
        os.ftruncate(fd, size - len(tail))
        return size - len(tail)


def _write(fd: int, content: bytes) -> None:
    """One call, so that whoever reads meanwhile sees whole lines; a disk that gets full takes a part."""
    if os.write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
