"""Scores photos: every face that counts is measured, cut out and scored by itself."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from liveness_core.alignment import align
from liveness_core.bundle import OperatingPoint
from liveness_core.detection.scaling import enlarge_face
from liveness_core.quality import measure, refusals
from liveness_core.types import DetectedFace, Picture, Quality
from liveness_service.decoding.image import ImageLimits
from liveness_service.decoding.scaled import ScaledImage
from liveness_service.observability.stages import stage
from liveness_service.results import FaceResult, ImageResult, Verdict
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.model import Model
from liveness_service.scoring.pipeline import ChosenPoint, Pipeline
from liveness_service.scoring.search import search
from liveness_service.scoring.verdict import combine, refusal_of_count, verdict_of_score
from liveness_service.submission import FacePolicy, ScoreOptions


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A face that the answer shows, scored or not."""

    face: DetectedFace
    quality: Quality
    reasons: tuple[str, ...]
    """Why the quality gates refuse the face; empty if they pass it."""
    crop: Picture | None
    """The aligned face that the model scores; None if the face, or the whole photo, is refused."""


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A decoded photo and its faces."""

    width: int
    height: int
    refusal: str | None
    """Why no face of the photo is scored; None if the photo is not refused as a whole."""
    candidates: tuple[_Candidate, ...]
    """The faces that the answer shows."""

    @property
    def groups(self) -> list[list[Picture]]:
        """Every crop in a group of its own: the faces of one photo need not share a batch."""
        return [[candidate.crop] for candidate in self.candidates if candidate.crop is not None]


class PhotoPipeline(Pipeline[PreparedPhoto, ImageResult]):
    """Scores photos with one model."""

    def __init__(
        self, model: Model, batcher: MicroBatcher, threads: ThreadPoolExecutor, limits: ImageLimits, max_faces: int
    ) -> None:
        super().__init__(model, batcher, threads)
        self._limits = limits
        self._max_faces = max_faces

    def _operating_points(self) -> Mapping[str, OperatingPoint]:
        return self.manifest.operating_points

    def _prepare(self, content: bytes, options: ScoreOptions, unwanted: Callable[[], bool]) -> PreparedPhoto:  # noqa: ARG002 (none of its steps can be interrupted)
        most_shown = 1 if options.faces is FacePolicy.LARGEST else self._max_faces
        seen = search(content, self._limits, self._model.detector, self.manifest.preprocess, most_shown)
        refusal = refusal_of_count(len(seen.faces), options.faces, self._max_faces)
        with stage("align"):
            candidates = tuple(
                self._candidate(seen.image, face, scored=refusal is None) for face in seen.faces[:most_shown]
            )
        return PreparedPhoto(seen.image.width, seen.image.height, refusal, candidates)

    def _candidate(self, image: ScaledImage, face: DetectedFace, *, scored: bool) -> _Candidate:
        quality = measure(image.picture, face)
        quality = replace(quality, face_px=quality.face_px * image.factor)
        reasons = refusals(quality, self.manifest.quality_gates)
        crop = None
        if scored and not reasons:
            spec = self.manifest.preprocess
            crop = align(image.picture, face, margin=spec.margin, size=spec.size).pixels
        return _Candidate(enlarge_face(face, image.factor), quality, reasons, crop)

    async def _conclude(
        self, prepared: PreparedPhoto, scored: Sequence[Scored], options: ScoreOptions, point: ChosenPoint
    ) -> ImageResult:
        rest = iter(scored)
        faces = []
        for candidate in prepared.candidates:
            if candidate.crop is None:
                reasons = candidate.reasons or ((prepared.refusal,) if prepared.refusal else ())
                faces.append(FaceResult(candidate.face, candidate.quality, Verdict.UNDETERMINED, reasons))
                continue
            own = next(rest)
            score = float(own.results[0].score)
            faces.append(
                FaceResult(
                    face=candidate.face,
                    quality=candidate.quality,
                    verdict=verdict_of_score(score, point.threshold),
                    score=score,
                    heatmap_png=await self._heatmap(candidate.crop, own, 0, options),
                )
            )
        verdict, reasons, score_of_all = combine(prepared.refusal, faces)
        return ImageResult(
            verdict=verdict,
            reasons=reasons,
            score=score_of_all,
            threshold=point.threshold,
            operating_point=point.name,
            faces=tuple(faces),
            width=prepared.width,
            height=prepared.height,
        )
