"""Audit logs to write, to damage and to check."""

import json
from pathlib import Path

from liveness_service.audit.chained_file import ChainedFile, Rotation
from liveness_service.audit.verify import verify

BEGIN = b'{"time"'
KEY = b"k" * 32


def line(number: int, day: int = 1, size: int = 20) -> bytes:
    """A line with a number, written on this day of a month."""
    return json.dumps({"time": f"2026-11-{day:02}T10:00:00.000Z", "n": number, "text": "x" * size}).encode() + b"\n"


def numbers(path: Path) -> list[int]:
    """The numbers of a file's lines."""
    return [json.loads(each)["n"] for each in path.read_bytes().splitlines()]


def written(
    path: Path, count: int = 9, key: bytes | None = None, rotation: Rotation | None = None, start: int = 0
) -> list[bytes]:
    """Write so many lines as one process does; all lines that the file then has."""
    file = ChainedFile(path, BEGIN, key=key, rotation=rotation)
    for number in range(start, start + count):
        file.append(line(number))
    file.close()
    return path.read_bytes().splitlines(keepends=True)


def faults(*paths: Path, **options: object) -> list[str]:
    """What a check finds."""
    return list(verify(paths, **options).faults)
