"""What a service and its worker processes hold: memory, descriptors, threads, processes. Linux only (/proc)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all that it started."""

    memory_mb: float
    """What they do not share counts whole, what they share in parts (proportional set size), MB."""
    descriptors: int
    """Open file descriptors of the process itself."""
    threads: int
    """Of all of them together."""
    processes: int


def usage(pid: int) -> Usage:
    """Look at a process and its descendants now; one that ends meanwhile does not count."""
    family = _family(pid)
    return Usage(
        memory_mb=sum(_memory_kb(member) for member in family) / 1024,
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=sum(_threads(member) for member in family),
        processes=len(family),
    )


def children(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    started: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            started += [int(child) for child in tasks.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return started


def _family(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        found += children(member)
    return found


def _memory_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _threads(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0
