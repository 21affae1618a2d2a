"""What a service and its worker processes hold: memory, descriptors, threads, processes. Linux only (/proc)."""

from dataclasses import dataclass
from pathlib import Path

from support.server import Server


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a service and all processes that it started."""

    memory_mb: float
    """What they share counts once (proportional set size), MB."""
    descriptors: int
    """Open file descriptors of the service itself."""
    threads: int
    """Of all of them together."""
    processes: int


def usage(server: Server) -> Usage:
    """Look at a service and its processes now; one that ends meanwhile does not count."""
    family = server.processes()
    return Usage(
        memory_mb=server.memory_mb("Pss"),
        descriptors=sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir()),
        threads=sum(_threads(member) for member in family),
        processes=len(family),
    )


def _threads(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0
