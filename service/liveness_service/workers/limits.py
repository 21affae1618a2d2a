"""The kernel's limits on a worker: memory, processor time, files, priority; and that it ends with its parent."""

import ctypes
import os
import re
import resource
import signal

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_MOST_FILES = 64
"""Most open files: three standard ones, the connection, two pieces of memory, its own status, and what a detector reads
at first."""
_NICER = 5
"""By how much a worker is nicer than the service, on the scale of `nice`: it gets a third of the processor time where
both want it."""


class OwnMemory:
    """What this process has allocated, and the bound on it. To be made before a sandbox takes the files away."""

    def __init__(self) -> None:
        try:
            self._status: int | None = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._status = None
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it

    def give_back(self) -> None:
        """Give the system what is free between used blocks: large uploads leave heaps full of holes."""
        if self._trim is not None:
            self._trim(0)

    def allocated_bytes(self) -> int | None:
        """Memory of this process that the bound counts: private and writable, touched or not. None if nobody tells."""
        if self._status is None:
            return None
        found = re.search(rb"^VmData:\s+(\d+) kB", os.pread(self._status, 8192, 0), re.MULTILINE)
        return None if found is None else int(found[1]) << 10

    def bound(self, most_bytes: int | None) -> None:
        """Let allocations fail beyond so many bytes in all; None: beyond the limit that `set_limits` has set."""
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = hard if most_bytes is None else most_bytes
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def end_with_parent(parent: int) -> None:
    """Let the kernel end this process when its parent ends; end at once if that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_limits(memory_bytes: int) -> None:
    """Bound what this process can take, for good.

    Args:
        memory_bytes: most memory that it can allocate. What it maps in other ways, the service's watch sees.
    """
    for kind, value in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_FSIZE, 0),  # no byte into any file
        (resource.RLIMIT_CORE, 0),  # a core dump would hold the picture
    ):
        resource.setrlimit(kind, (value, value))
    _prctl(_PR_SET_DUMPABLE, 0)
    forgo_privileges()


def let_the_service_go_first() -> None:
    """Leave a busy core to the service: its event loop, and the encoder, in whose queue uploads would else gather.

    As many workers as cores, beside the encoder at equal rights, slow the encoder down until all uploads wait for it
    and no worker has anything to do. The encoder's batches then run alone on one core, an eighth of the machine's time.
    """
    os.nice(_NICER)


def forgo_privileges() -> None:
    """Let neither this process nor any that it starts gain rights, for good; the kernel's sandboxes ask for it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def bound_processor_time(seconds: int) -> None:
    """Let the kernel end this process with SIGXCPU once it has used this much more processor time.

    Raises:
        OSError: the limit cannot be set.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _prctl(option: int, value: int) -> None:
    """Linux only, as workers are."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
