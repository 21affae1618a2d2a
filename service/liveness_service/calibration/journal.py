"""Answers that were given already, in a file, so that a run which was stopped goes on where it was.

A line for each answer, in JSON, keyed by the hash of the file and by what gave the score: a file that changed, or
another bundle, is scored anew. A line that a crash cut off is not read.
"""

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from liveness_service.calibration.faces import Answer, CalibrationError
from liveness_service.submission import Endpoint


class Journal:
    """The answers of one bundle. Lines of other bundles are kept and not used."""

    def __init__(self, path: Path | None, scorer: str) -> None:
        """Read what there is; the file is made where there is none.

        Args:
            path: the file; None remembers nothing beyond this run.
            scorer: what gives the scores, e.g. hash of the bundle and precision.

        Raises:
            CalibrationError: it cannot be read or written, or is another kind of file.
        """
        self._scorer = scorer
        self._answers: dict[str, Answer] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            content = path.read_bytes() if path.exists() else b""
            self._read(path, content)
            self._file = path.open("ab")
            if content and not content.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise CalibrationError(f"{path}: {error.strerror}; --journal names another file") from error

    def __enter__(self) -> Self:
        """Use the journal; it is closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def get(self, sha256: str) -> Answer | None:
        """The answer for the file with this hash; None where there is none yet."""
        return self._answers.get(sha256)

    def of(self, sha256: str) -> Answer:
        """The answer for a file that has one."""
        return self._answers[sha256]

    def add(self, sha256: str, answer: Answer) -> None:
        """Remember an answer; once this returns, the end of the process does not lose it."""
        self._answers[sha256] = answer
        if self._file is not None:
            line = json.dumps({"file": sha256, "scorer": self._scorer, **asdict(answer)})
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def _read(self, path: Path, content: bytes) -> None:
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                file, scorer = entry.pop("file"), entry.pop("scorer")
                answer = Answer(
                    endpoint=Endpoint(entry.pop("endpoint")),
                    reasons=tuple(entry.pop("reasons")),
                    **entry,
                )
            except (ValueError, KeyError, TypeError, AttributeError):
                if not self._answers and not content.startswith(b'{"file"'):
                    raise CalibrationError(
                        f"{path}: this is not a journal of `liveness calibrate`; --journal names another file"
                    ) from None
                continue  # cut off by a crash
            if scorer == self._scorer:
                self._answers[file] = answer
