"""Checkpoints: the whole state of a run at an iteration. A damaged checkpoint is never read."""

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

import torch

_log = logging.getLogger(__name__)
_KEPT = 2
_DIGEST_BYTES = 32


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` iterations; the two latest checkpoints are kept.

    It is first written and flushed under another name, so a kill at any moment leaves the earlier checkpoints and at
    most a file that is never read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"step-{step:08}.pt"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(hashlib.sha256(content).digest() + content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    for old in sorted(folder.glob("step-*.pt"))[:-_KEPT]:
        old.unlink()
    return path


def latest(folder: Path) -> dict[str, Any] | None:
    """The state of the latest intact checkpoint; None where there is none. Damaged ones are skipped with a warning."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            _log.warning("%s is not whole and is skipped; the run goes on from the one before it", path)
            continue
        state: dict[str, Any] = torch.load(io.BytesIO(content[_DIGEST_BYTES:]), map_location="cpu", weights_only=True)
        return state
    return None
