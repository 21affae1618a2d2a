"""Memory that the service shares with a worker: uploads go there and crops come back through it."""

import fcntl
import os
from typing import Self

_SIZE_IS_FIXED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL if hasattr(fcntl, "F_SEAL_SEAL") else 0
_BLOCK_BYTES = 512
"""Unit of `st_blocks`."""


class SharedMemory:
    """A piece of memory of a fixed size, which another process gets by its file descriptor.

    The size is sealed: a worker that could cut the memory short would end the service with SIGBUS.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    @classmethod
    def empty(cls, size: int) -> Self:
        """Memory for a worker to write to; pages that nobody touches cost nothing."""
        fd = os.memfd_create("answer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE_IS_FIXED)
        return cls(fd, size)

    @classmethod
    def holding(cls, content: bytes) -> Self:
        """Memory with this content, which nobody can change."""
        fd = os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE_IS_FIXED | fcntl.F_SEAL_WRITE)
        return cls(fd, len(content))

    def read(self, start: int, size: int) -> bytearray:
        """A copy of a part.

        Raises:
            ValueError: the part is not within the memory.
        """
        if start < 0 or size < 0 or start + size > self.size:
            raise ValueError(f"{size} bytes from {start} are not within {self.size}")
        part = bytearray(size)
        if size and os.preadv(self.fd, [part], start) != size:
            raise ValueError("the memory is shorter than it says")
        return part

    @property
    def taken_bytes(self) -> int:
        """How much of it has been written to, by whomever, in whole pages."""
        return os.fstat(self.fd).st_blocks * _BLOCK_BYTES

    def close(self) -> None:
        """Give this process's share back."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
