"""What a call brings back: few files of limited size, written anew after every run so that a call that is cut off keeps
what it had.

`scores-1.zip` holds what every finished run has beside its weights. `weights-1.zip` and so on hold weights, those of
the runs on all domains first. `results.json` says which weights did not fit; the next call brings those, as long as the
machine keeps its work folder.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

SMALL = ("result.json", "scores.npy", "log.jsonl")
WEIGHTS = "weights.pt"
BROUGHT = "brought.json"


def finished(work: Path, names: Sequence[str]) -> list[str]:
    """The runs that have ended, in the given order."""
    return [name for name in names if (work / "runs" / name / "result.json").exists()]


def collect(
    work: Path, out: Path, names: Sequence[str], *, earlier: Sequence[str], most_mb: float, file_mb: float
) -> list[str]:
    """Write the archives of the finished runs; returns the runs whose weights are in them.

    Args:
        work: the work folder.
        out: where the archives go.
        names: all runs, the most important first.
        earlier: runs whose weights earlier calls have brought.
        most_mb: most megabytes of all files together.
        file_mb: most megabytes of one file.
    """
    ended = finished(work, names)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "scores-1.zip", [work / "runs" / name / file for name in ended for file in SMALL])
    room = most_mb * 1e6 - (out / "scores-1.zip").stat().st_size
    wanted = [name for name in ended if name not in earlier]
    wanted.sort(key=lambda name: not name.endswith("-all"))
    parts: list[list[Path]] = [[]]
    brought = []
    for name in wanted:
        file = work / "runs" / name / WEIGHTS
        size = file.stat().st_size
        if size > room:
            continue
        if parts[-1] and sum(each.stat().st_size for each in parts[-1]) + size > file_mb * 1e6:
            parts.append([])
        parts[-1].append(file)
        brought.append(name)
        room -= size
    for number, files in enumerate(parts, 1):
        if files:
            _write(out / f"weights-{number}.zip", files)
    left = [name for name in ended if name not in brought and name not in earlier]
    about = {"finished": ended, "not finished": [name for name in names if name not in ended], "weights left": left}
    (out / "results.json").write_text(json.dumps(about, indent=1) + "\n")
    (work / BROUGHT).write_text(json.dumps([*earlier, *brought]) + "\n")
    return brought


def _write(path: Path, files: Sequence[Path]) -> None:
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"{file.parent.name}/{file.name}")
    partial.replace(path)
