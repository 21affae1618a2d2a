"""A file that grows by whole lines only, even if others write to it, rotate it or fill its disk."""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

if sys.platform != "win32":  # Windows has no fcntl, so there is no audit log there
    import fcntl

_ROOM = 400
"""Bytes of the room that a check asks for: a little less than the shortest verdict takes."""
_KEEP_SIZE = 1
"""Linux's flag FALLOC_FL_KEEP_SIZE: reserve room, and do not show it as a part of the file."""
_LONGEST_TAIL = 64 * 1024
"""How many bytes before the end of the file the beginning of an unfinished line is looked for."""


def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """Linux's `fallocate`, which Python offers only without flags; None on other systems."""
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    return cast("Callable[[int, int, int, int], int]", function)


_FALLOCATE = _fallocate()


class LineFile:
    """Appends lines, all of them or none. One thread uses it; other processes may write to the same file."""

    def __init__(self, path: Path, begin: bytes) -> None:
        """Remember the file; it is not opened yet.

        Args:
            path: the file.
            begin: how every line begins. It tells a line that a crash cut off from the end of a foreign file.
        """
        self._path = path
        self._begin = begin
        self._fd: int | None = None

    def append(self, lines: bytes) -> None:
        """Write lines and wait until they are on the disk.

        Raises:
            OSError: the lines could not be written; the file is unchanged.
        """
        fd = self._locked()
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._append_to_file(fd, lines)
            else:  # a pipe or a device: there is nothing to cut off and nothing to sync
                _write(fd, lines)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def peek(self) -> tuple[int, bytes]:
        """The file's size in bytes and its last line without the newline.

        The line is empty where there is none, where it is longer than 64 KiB, and where this is a pipe or a device.

        Raises:
            OSError: the file cannot be opened or read.
        """
        fd = self._locked()
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return 0, b""
            end = self._end_of_last_line(fd)
            return end, _line_before(fd, end)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def check(self) -> None:
        """Find out whether the disk would take one more line. What the file holds, and its size, stay as they are.

        Raises:
            OSError: the disk refuses.
        """
        fd = self._locked()
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                _reserve(fd, self._end_of_last_line(fd))
                os.fsync(fd)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _locked(self) -> int:
        """Lock the file that has the configured name now, and return its descriptor.

        The file may be rotated while this waits for the lock; then the new file of that name is opened and locked.
        """
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
                    self.close()  # closing unlocks the file

    def _append_to_file(self, fd: int, lines: bytes) -> None:
        end = self._end_of_last_line(fd)
        try:
            _write(fd, lines)
            os.fsync(fd)
        except OSError:
            with suppress(OSError):  # the first error says more than this one would
                os.ftruncate(fd, end)
            raise

    def _end_of_last_line(self, fd: int) -> int:
        """Where the next line begins, in bytes. A line that a crash left unfinished is cut off: it was not answered."""
        size = os.fstat(fd).st_size
        if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
            return size
        start = max(0, size - _LONGEST_TAIL)
        _, _, tail = os.pread(fd, size - start, start).rpartition(b"\n")
        if tail[: len(self._begin)] != self._begin[: len(tail)]:
            raise OSError(errno.EINVAL, "its last line is unfinished and does not come from this log")
        os.ftruncate(fd, size - len(tail))
        return size - len(tail)


def _line_before(fd: int, end: int) -> bytes:
    """The line that ends at `end`, without its newline; nothing where there is none, or where it is too long."""
    start = max(0, end - _LONGEST_TAIL)
    _, newline, line = os.pread(fd, max(end - start - 1, 0), start).rpartition(b"\n")
    return line if newline or start == 0 else b""


def _reserve(fd: int, end: int) -> None:
    """Reserve room for a line behind the end of the file; where the file system cannot, look whether there is room."""
    if _FALLOCATE is not None:
        if _FALLOCATE(fd, _KEEP_SIZE, end, _ROOM) == 0:
            return
        error = ctypes.get_errno()
        if error not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(error, os.strerror(error))
    disk = os.fstatvfs(fd)
    if disk.f_bavail * disk.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(fd: int, content: bytes) -> None:
    """Write in one call, so that readers see whole lines; on a full disk the call may write only a part."""
    if os.write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
