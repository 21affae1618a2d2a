"""What `liveness score` prints: a line for every file, in four forms, for files that could not be scored too."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum

from liveness_service.api.schemas import answer_of
from liveness_service.files import FileResult
from liveness_service.results import ImageResult
from liveness_service.scoring.model import Model
from liveness_service.submission import Endpoint

FAILED = "failed"
"""Stands where a verdict would, for a file that could not be scored. It is no verdict of the API."""
COLUMNS = (
    "file", "kind", "verdict", "score", "threshold", "operating_point", "reasons", "faces", "code", "detail",
)  # fmt: skip
"""Columns of the CSV. `reasons` are separated by blanks; `code` and `detail` say why a file could not be scored."""


class Form(StrEnum):
    """How results are printed."""

    LINES = "lines"
    JSON = "json"
    CSV = "csv"
    TABLE = "table"


def printable(name: str) -> str:
    """A file's name with a mark in place of what no terminal shows, so that it keeps to one line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def verdict_of(scored: FileResult) -> str:
    """`live`, `spoof`, `undetermined`, or `failed`."""
    return FAILED if scored.result is None else scored.result.verdict.value


def words_of(scored: FileResult) -> str:
    """Why there is no verdict: reasons, or the error; empty otherwise."""
    return scored.reason if scored.result is None else ", ".join(scored.result.reasons)


def line(scored: FileResult) -> str:
    """One file in words."""
    name, result = printable(scored.name), scored.result
    if result is None:
        return f"{name}: {scored.reason}"
    score = "no score" if result.score is None else f"score {result.score:.3f}"
    reasons = f" ({', '.join(result.reasons)})" if result.reasons else ""
    return f"{name}: {result.verdict}{reasons}, {score}, threshold {result.threshold:.3f}, {result.operating_point}"


def json_line(scored: FileResult, model: Model) -> str:
    """One file as JSON: the API's answer, or the verdict null and the problem's code and detail."""
    if scored.result is None:
        problem = {"code": scored.code, "detail": scored.reason}
        return json.dumps({"file": scored.name, "verdict": None, "error": problem})
    answer = answer_of(scored.name, scored.result, model)
    return json.dumps({"file": scored.name, **answer.model_dump(mode="json", exclude={"request_id"})})


def csv_header() -> str:
    """The first line of the CSV."""
    return ",".join(COLUMNS)


def csv_line(scored: FileResult) -> str:
    """One file as a line of CSV (RFC 4180, without the end of the line)."""
    result, kind = scored.result, "clip" if scored.endpoint is Endpoint.CLIP else "photo"
    rest: tuple[object, ...] = (*[""] * 5, scored.code, scored.reason)
    if result is not None:
        faces = len(result.faces) if isinstance(result, ImageResult) else int(result.face is not None)
        score = "" if result.score is None else f"{result.score:.6f}"
        rest = (score, f"{result.threshold:.6f}", result.operating_point, " ".join(result.reasons), faces, "", "")
    written = io.StringIO()
    row = (scored.name.encode("utf-8", "replace").decode(), kind, verdict_of(scored), *rest)
    csv.writer(written, lineterminator="").writerow(row)
    return written.getvalue()


def table(results: Sequence[FileResult]) -> Iterator[str]:
    """All files as aligned lines, and how many there are of each verdict."""
    names = [printable(scored.name) for scored in results]
    widest = max(len("file"), *(len(name) for name in names))
    yield f"{'verdict':<12}  {'score':<5}  {'threshold':<9}  {'file':<{widest}}  why".rstrip()
    for scored, name in zip(results, names, strict=True):
        result = scored.result
        score = "" if result is None or result.score is None else f"{result.score:.3f}"
        threshold = "" if result is None else f"{result.threshold:.3f}"
        yield f"{verdict_of(scored):<12}  {score:<5}  {threshold:<9}  {name:<{widest}}  {words_of(scored)}".rstrip()
    counts = Counter(verdict_of(scored) for scored in results)
    yield f"{len(results)} files: {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())}"
