"""How many processor cores this process may use: by its affinity and by the CPU quota of its container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_DEFAULT_PERIOD_US = 100_000
"""The kernel's default for the period of a quota, in microseconds."""


def available_cores(root: Path = Path("/")) -> int:
    """Count the cores; at least 1. A quota of one and a half cores counts as two.

    A container with a quota sees all cores of its machine. With a thread for each of them it would use up its quota at
    once and then be stopped for the rest of every period.

    Args:
        root: folder that holds `proc` and `sys`; tests name another one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas that apply, in cores: those of the process's control groups and of all groups around them."""
    mount = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for group in _with_parents(path):
            if not controllers:  # version 2: one hierarchy for all controllers
                yield from _quota(*_text(mount / group / "cpu.max").split()[:2])
            elif "cpu" in controllers.split(","):
                for name in ("cpu", "cpu,cpuacct"):  # one is usually a link to the other
                    folder = mount / name / group
                    yield from _quota(
                        _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
                    )


def _with_parents(path: str) -> list[PurePosixPath]:
    """The group of this path and all groups around it, relative to the mount.

    Inside a container the path may be that of the machine, while the container sees only its own group, as the root.
    """
    group = PurePosixPath(*(part for part in path.split("/") if part not in ("", "..")))
    return [group, *group.parents]


def _quota(quota_us: str = "", period_us: str = "") -> Iterator[float]:
    """The quota in cores; nothing if there is none (`max`, -1) or if it cannot be read."""
    if quota_us.isdecimal() and int(quota_us) > 0:
        period = int(period_us) if period_us.isdecimal() else 0 if period_us else _DEFAULT_PERIOD_US
        if period > 0:
            yield int(quota_us) / period


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
