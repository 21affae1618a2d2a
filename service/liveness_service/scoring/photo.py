"""Scores photos: every face that counts is measured, cut out and scored by itself."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from liveness_core.bundle import OperatingPoint
from liveness_core.types import FaceCrops
from liveness_service.decoding.image import ImageLimits
from liveness_service.results import FaceResult, ImageResult, Verdict
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.model import Model
from liveness_service.scoring.pipeline import ChosenPoint, Elsewhere, Pipeline
from liveness_service.scoring.preparation import PhotoPreparation
from liveness_service.scoring.prepared import PhotoFacts, Prepared
from liveness_service.scoring.verdict import combine, verdict_of_score
from liveness_service.submission import ScoreOptions


class PhotoPipeline(Pipeline[PhotoFacts, ImageResult]):
    """Scores photos with one model."""

    def __init__(
        self,
        model: Model,
        batcher: MicroBatcher,
        threads: ThreadPoolExecutor,
        limits: ImageLimits,
        max_faces: int,
        elsewhere: Elsewhere[PhotoFacts] | None = None,
    ) -> None:
        finder = Finder.of(model.bundle.manifest, model.detector)
        super().__init__(model, batcher, threads, PhotoPreparation(finder, limits, max_faces), elsewhere)

    def _operating_points(self) -> Mapping[str, OperatingPoint]:
        return self.manifest.operating_points

    def _groups(self, prepared: Prepared[PhotoFacts]) -> list[list[FaceCrops]]:
        # Every face in a group of its own: the faces of one photo need not share a batch.
        return [[crops] for crops in prepared.crops]

    async def _conclude(
        self, prepared: Prepared[PhotoFacts], scored: Sequence[Scored], options: ScoreOptions, point: ChosenPoint
    ) -> ImageResult:
        facts, rest = prepared.facts, iter(zip(prepared.crops, scored, strict=True))
        faces = []
        for candidate in facts.candidates:
            if not candidate.cropped:
                reasons = candidate.reasons or ((facts.refusal,) if facts.refusal else ())
                faces.append(FaceResult(candidate.face, candidate.quality, Verdict.UNDETERMINED, reasons))
                continue
            crops, own = next(rest)
            score = float(own.results[0].score)
            faces.append(
                FaceResult(
                    face=candidate.face,
                    quality=candidate.quality,
                    verdict=verdict_of_score(score, point.threshold),
                    score=score,
                    heatmap_png=await self._heatmap(crops, own, 0, options, score, point.threshold),
                )
            )
        verdict, reasons, score_of_all = combine(facts.refusal, faces)
        return ImageResult(
            verdict=verdict,
            reasons=reasons,
            score=score_of_all,
            threshold=point.threshold,
            operating_point=point.name,
            faces=tuple(faces),
            width=facts.width,
            height=facts.height,
        )
