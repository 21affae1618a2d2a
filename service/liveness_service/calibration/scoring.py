"""Runs the files through the service, as `liveness score` does, and remembers each answer."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import liveness_core
from liveness_service.calibration.faces import Answer, CalibrationError, Case, Judged
from liveness_service.calibration.journal import Journal
from liveness_service.files import FileResult, at_once, score_files
from liveness_service.scoring.model import Model
from liveness_service.service import LivenessService
from liveness_service.submission import ScoreOptions

OnProgress = Callable[[int, int], None]
"""Called with how many files are done, and how many there are: at the start and after each file."""


async def judge(
    service: LivenessService,
    cases: Sequence[Case],
    options: ScoreOptions,
    journal: Path | None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> list[Judged]:
    """Score the files, each content once, and give them in their order.

    Args:
        service: a started service.
        cases: the files.
        options: which faces count.
        journal: file that remembers answers; None for none.
        on_progress: told how far it is.

    Raises:
        CalibrationError: a file is missing, or the service fails on one for a reason that lies not in the file.
    """
    hashes = await asyncio.to_thread(_hashes, cases)
    copies = Counter(hashes)
    with Journal(journal, scorer_of(service.model(), options)) as known:
        # A file of each content that has no answer yet, in the order of the files.
        first = {digest: case.path for digest, case in zip(reversed(hashes), reversed(cases), strict=True)}
        missing = [digest for digest in copies if known.get(digest) is None]
        names = [first[digest] for digest in missing]
        done = len(cases) - sum(copies[digest] for digest in missing)
        on_progress(done, len(cases))
        async with aclosing(score_files(service, names, options, at_once=at_once(service.settings, names))) as answers:
            for digest in missing:
                known.add(digest, _answer(await anext(answers)))
                done += copies[digest]
                on_progress(done, len(cases))
        return [Judged(case, known.of(digest), digest) for case, digest in zip(cases, hashes, strict=True)]


def scorer_of(model: Model, options: ScoreOptions) -> str:
    """What gives the scores: answers of another bundle, precision, policy or release are not the same."""
    bundle = model.bundle
    parts = (bundle.manifest.manifest_sha256, bundle.variant.precision, options.faces.value, liveness_core.__version__)
    return " ".join(parts)


def _hashes(cases: Sequence[Case]) -> list[str]:
    hashes = []
    for case in cases:
        try:
            with Path(case.path).open("rb") as file:
                hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise CalibrationError(f"{case.path}: {error.strerror}") from error
    return hashes


def _answer(found: FileResult) -> Answer:
    if found.result is not None:
        reasons = tuple(str(reason) for reason in found.result.reasons)
        return Answer(found.endpoint, found.result.score, reasons)
    if getattr(found.error, "status", 500) >= 500:  # not the file's fault, so it is no answer to be remembered
        raise CalibrationError(f"{found.name}: {found.reason}; the same command goes on from here")
    return Answer(found.endpoint, None, (found.code,), found.reason)
