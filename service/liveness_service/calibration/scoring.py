"""Runs the files through the service, as `liveness score` does, and remembers each answer."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import liveness_core
from liveness_core.types import Box
from liveness_service.calibration.faces import Answer, CalibrationError, Case, Judged
from liveness_service.calibration.journal import Journal
from liveness_service.files import FileResult, at_once, score_files, started
from liveness_service.results import ClipResult, ImageResult, Result
from liveness_service.scoring.model import Model
from liveness_service.settings import Settings
from liveness_service.submission import ScoreOptions

OnProgress = Callable[[int, int, int], None]
"""Called after each file with: files done, of these files found in the journal, files in all."""


async def judge_all(
    cases: Sequence[Case],
    settings: Settings,
    options: ScoreOptions,
    journal: Path | None,
    on_progress: OnProgress = lambda _done, _known, _all: None,
) -> tuple[list[Judged], Model]:
    """Score the files, in their order, each content once.

    Args:
        cases: the files.
        settings: which bundle scores, and how.
        options: which faces count.
        journal: file that remembers answers; None for none.
        on_progress: told how far it is.

    Returns:
        The files with their answers, and the model that gave them.

    Raises:
        CalibrationError: a file is missing, or the service fails on one for a reason that lies not in the file.
        ModelUnavailableError: the bundle cannot be used.
    """
    hashes = await asyncio.to_thread(_hashes, cases)
    copies = Counter(hashes)
    async with started(settings) as service:
        model = service.model()
        with Journal(journal, scorer_of(model, options)) as known:
            # A file of each content that has no answer yet, in the order of the files.
            first = {digest: case.path for digest, case in zip(reversed(hashes), reversed(cases), strict=True)}
            missing = [digest for digest in copies if known.get(digest) is None]
            ready = done = len(cases) - sum(copies[digest] for digest in missing)
            on_progress(done, ready, len(cases))
            names = [first[digest] for digest in missing]
            answers = score_files(service, names, options, at_once=at_once(settings, names))
            for digest in missing:
                known.add(digest, _answer(await anext(answers)))
                done += copies[digest]
                on_progress(done, ready, len(cases))
            await answers.aclose()
            return [Judged(case, known.of(digest), digest) for case, digest in zip(cases, hashes, strict=True)], model


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
    if found.error is not None:
        status = getattr(found.error, "status", 500)
        if status >= 500:  # not the file's fault, so it is no answer that may be remembered
            raise CalibrationError(f"{found.name}: {found.reason}; the same command goes on from here")
        return Answer(found.endpoint, None, (found.code,), found.reason)
    result = found.result
    assert result is not None
    if isinstance(result, ImageResult):
        return _of_photo(found, result)
    return _of_clip(found, result)


def _of_photo(found: FileResult, result: ImageResult) -> Answer:
    box = result.faces[0].face.box if result.faces else None
    return Answer(found.endpoint, result.score, _reasons(result), "", _edges(box))


def _of_clip(found: FileResult, result: ClipResult) -> Answer:
    with_face = [frame for frame in result.frames if frame.box is not None]
    middle = with_face[len(with_face) // 2] if with_face else None
    if middle is None:
        return Answer(found.endpoint, result.score, _reasons(result))
    return Answer(found.endpoint, result.score, _reasons(result), "", _edges(middle.box), middle.index)


def _reasons(result: Result) -> tuple[str, ...]:
    return tuple(str(reason) for reason in result.reasons)


def _edges(box: Box | None) -> tuple[float, float, float, float] | None:
    return None if box is None else (box.x1, box.y1, box.x2, box.y2)
