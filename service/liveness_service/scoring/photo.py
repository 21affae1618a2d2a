"""One picture's way: decode, detect, align and measure in a thread, score in a batch, then the verdict."""

import asyncio
import contextvars
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

from liveness_core.alignment import align
from liveness_core.bundle import OperatingPoint
from liveness_core.quality import measure, refusals
from liveness_core.types import DetectedFace, Picture, Quality
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.errors import InvalidParameterError
from liveness_service.observability.tracing import stage
from liveness_service.results import FacePolicy, FaceResult, ImageResult, Timings, Verdict
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.heatmap import heatmap_png
from liveness_service.scoring.model import Model
from liveness_service.scoring.verdict import combine, refusal_of_count, verdict_of_score

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What a request asks for."""

    operating_point: str | None = None
    """Name in the bundle; its default one for None."""
    faces: FacePolicy = FacePolicy.SINGLE
    explain: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A face that counts. `crop` is None where it is refused."""

    face: DetectedFace
    quality: Quality
    reasons: tuple[str, ...]
    crop: Picture | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    width: int
    height: int
    refusal: str | None
    """Why no face of the picture is scored."""
    candidates: tuple[_Candidate, ...]


def choose_point(points: Mapping[str, OperatingPoint], name: str | None, default: str) -> tuple[str, OperatingPoint]:
    """The operating point of this name, or the default one, with its name.

    Raises:
        InvalidParameterError: there is none of this name.
    """
    name = default if name is None else name
    try:
        return name, points[name]
    except KeyError as error:
        raise InvalidParameterError(f"operating_point: the bundle has no {name!r}, only {', '.join(points)}") from error


class ImagePipeline:
    """Scores pictures with one model. Its threads and its batcher bound what runs at once."""

    def __init__(
        self, model: Model, batcher: MicroBatcher, threads: ThreadPoolExecutor, limits: ImageLimits, max_faces: int
    ) -> None:
        self._model = model
        self._batcher = batcher
        self._threads = threads
        self._limits = limits
        self._max_faces = max_faces

    def operating_point(self, name: str | None) -> tuple[str, OperatingPoint]:
        """The operating point of this name, or the default one.

        Raises:
            InvalidParameterError: the bundle has none of this name.
        """
        manifest = self._model.bundle.manifest
        return choose_point(manifest.operating_points, name, manifest.default_operating_point)

    async def score(self, content: bytes, options: ScoreOptions) -> ImageResult:
        """The answer for an encoded picture.

        Raises:
            ServiceError: the content, a parameter or the model is at fault.
        """
        started = time.perf_counter()
        timings = Timings()
        name, point = self.operating_point(options.operating_point)
        prepared = await self._in_thread(lambda: self._prepare(content, options, timings))
        scored = await self._score_crops(prepared, options, timings)
        faces = await self._conclude(prepared, scored, options, point.threshold)
        verdict, reasons, score = combine(prepared.refusal, faces)
        timings.total = (time.perf_counter() - started) * 1000
        return ImageResult(
            verdict=verdict,
            reasons=reasons,
            score=score,
            threshold=point.threshold,
            operating_point=name,
            faces=faces,
            width=prepared.width,
            height=prepared.height,
            timings_ms=timings,
        )

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        # The request's ids and its span go along, for what is logged and traced there.
        here = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, here.run, work)

    def _prepare(self, content: bytes, options: ScoreOptions, timings: Timings) -> _Prepared:
        marks = [time.perf_counter()]
        with stage("decode"):
            picture = decode_image(content, self._limits)
        marks.append(time.perf_counter())
        with stage("detect") as span:
            faces = self._model.detector.detect(picture)
            span.set_attribute("liveness.faces_found", len(faces))
        marks.append(time.perf_counter())
        refusal = refusal_of_count(len(faces), options.faces, self._max_faces)
        shown = faces[: 1 if options.faces is FacePolicy.LARGEST else self._max_faces]
        with stage("align"):
            candidates = tuple(self._candidate(picture, face, scored=refusal is None) for face in shown)
        marks.append(time.perf_counter())
        timings.decode, timings.detect, timings.align = ((end - start) * 1000 for start, end in pairwise(marks))
        height, width = picture.shape[:2]
        return _Prepared(width, height, refusal, candidates)

    def _candidate(self, picture: Picture, face: DetectedFace, *, scored: bool) -> _Candidate:
        manifest = self._model.bundle.manifest
        quality = measure(picture, face)
        reasons = refusals(quality, manifest.quality_gates)
        crop = None
        if scored and not reasons:
            spec = manifest.preprocess
            crop = align(picture, face, margin=spec.margin, size=spec.size).pixels
        return _Candidate(face, quality, reasons, crop)

    async def _score_crops(self, prepared: _Prepared, options: ScoreOptions, timings: Timings) -> list[Scored | None]:
        crops = [candidate.crop for candidate in prepared.candidates]
        waiting = [self._batcher.submit([crop], explain=options.explain) for crop in crops if crop is not None]
        done = iter(await asyncio.gather(*waiting))
        scored = [None if crop is None else next(done) for crop in crops]
        timings.queue = 1000 * max((each.queue_s for each in scored if each), default=0.0)
        timings.infer = 1000 * max((each.infer_s for each in scored if each), default=0.0)
        return scored

    async def _conclude(
        self, prepared: _Prepared, scored: list[Scored | None], options: ScoreOptions, threshold: float
    ) -> tuple[FaceResult, ...]:
        faces = []
        for candidate, each in zip(prepared.candidates, scored, strict=True):
            if candidate.crop is None or each is None:
                reasons = candidate.reasons or ((prepared.refusal,) if prepared.refusal else ())
                faces.append(FaceResult(candidate.face, candidate.quality, Verdict.UNDETERMINED, reasons))
                continue
            (result,) = each.results
            score = float(result.score)
            heatmap = None
            # A batch is explained as a whole, so a crop may carry a map that its request did not ask for.
            if options.explain and result.activation is not None:
                with stage("heatmap"):
                    heatmap = await self._in_thread(partial(heatmap_png, candidate.crop, result.activation))
            faces.append(
                FaceResult(
                    face=candidate.face,
                    quality=candidate.quality,
                    verdict=verdict_of_score(score, threshold),
                    score=score,
                    heatmap_png=heatmap,
                )
            )
        return tuple(faces)
