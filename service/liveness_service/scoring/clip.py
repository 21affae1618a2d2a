"""Scores clips: chooses T frames, checks that they show one face, scores them together, and asks the temporal head."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import structlog

from liveness_core.bundle import OperatingPoint, TemporalHead
from liveness_core.scoring import ClipScorer
from liveness_core.types import FaceCrops
from liveness_core.video import VideoLimits
from liveness_service.errors import ClipsUnsupportedError, ScoringFailedError
from liveness_service.observability.stages import stage
from liveness_service.results import ClipResult, FaceResult, Verdict
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.model import Model
from liveness_service.scoring.pipeline import ChosenPoint, Elsewhere, Pipeline
from liveness_service.scoring.prepared import ClipFacts, Prepared
from liveness_service.scoring.verdict import verdict_of_score
from liveness_service.submission import ScoreOptions

log = structlog.get_logger(__name__)


class ClipPipeline(Pipeline[ClipFacts, ClipResult]):
    """Scores clips with one model."""

    def __init__(
        self,
        model: Model,
        batcher: MicroBatcher,
        threads: ThreadPoolExecutor,
        limits: VideoLimits,
        min_seconds: float,
        elsewhere: Elsewhere[ClipFacts] | None = None,
    ) -> None:
        head = model.bundle.manifest.temporal
        finder = Finder.of(model.bundle.manifest, model.detector)
        preparation = None if head is None else ClipPreparation(finder, head.clip, limits, min_seconds)
        super().__init__(model, batcher, threads, preparation, elsewhere)

    def _operating_points(self) -> Mapping[str, OperatingPoint]:
        head, _ = self._head()
        return head.operating_points

    def _head(self) -> tuple[TemporalHead, ClipScorer]:
        bundle = self._model.bundle
        if bundle.manifest.temporal is None or bundle.clip_scorer is None:
            raise ClipsUnsupportedError(
                f"the bundle {bundle.manifest.name} has no temporal head (temporal.onnx), it scores photos only: send "
                "frames to /v1/liveness, or load a bundle that was trained with clips (docs/training.md)"
            )
        return bundle.manifest.temporal, bundle.clip_scorer

    def _groups(self, prepared: Prepared[ClipFacts]) -> list[tuple[FaceCrops, ...]]:
        # All frames in one group, since the temporal head needs them together.
        return [prepared.crops] if prepared.crops else []

    async def _conclude(
        self, prepared: Prepared[ClipFacts], scored: Sequence[Scored], options: ScoreOptions, point: ChosenPoint
    ) -> ClipResult:
        facts = prepared.facts
        middle = len(facts.usable) // 2
        shown = facts.usable[middle] if facts.usable else None
        face = None if shown is None else FaceResult(shown.face, shown.quality, Verdict.UNDETERMINED, facts.refusals)
        verdict, score, frame_score, frames = Verdict.UNDETERMINED, None, None, facts.frames
        if scored and shown is not None:
            (own,) = scored
            score = await self._clip_score(own)
            frame_scores = [float(result.score) for result in own.results]
            verdict, frame_score = verdict_of_score(score, point.threshold), float(np.mean(frame_scores))
            frames = tuple(
                replace(frame, score=frame_score_) for frame, frame_score_ in zip(frames, frame_scores, strict=True)
            )
            heatmap = await self._heatmap(prepared.crops[middle], own, middle, options, score, point.threshold)
            face = FaceResult(shown.face, shown.quality, verdict, (), score, heatmap)
        return ClipResult(
            verdict=verdict,
            reasons=facts.refusals,
            score=score,
            frame_score=frame_score,
            threshold=point.threshold,
            operating_point=point.name,
            face=face,
            frames=frames,
            frames_used=len(facts.usable),
            duration_s=facts.duration_s,
            fps=facts.fps,
            width=facts.width,
            height=facts.height,
        )

    async def _clip_score(self, scored: Scored) -> float:
        """Let the temporal head score the frames' embeddings."""
        _, scorer = self._head()
        embeddings_1TD = np.stack([result.embedding for result in scored.results])[None]
        try:
            with stage("temporal"):
                return float((await self._in_thread(lambda: scorer.score_embeddings(embeddings_1TD)))[0])
        except Exception as error:  # of any kind: a head that fails must not lead to a verdict
            log.exception("temporal_head_failed")
            self._batcher.report(error)
            raise ScoringFailedError(
                "the temporal head failed on this clip, so there is no verdict: try again, and see the service's log"
            ) from error
