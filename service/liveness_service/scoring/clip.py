"""Scores clips: chooses T frames, checks that they show one face, scores them together, and asks the temporal head."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import structlog

from liveness_core.bundle import OperatingPoint, TemporalHead
from liveness_core.clips import Sampled, sample
from liveness_core.scoring import ClipScorer
from liveness_core.types import Picture
from liveness_core.video import VideoLimits, VideoReader
from liveness_service.decoding.clip import opened_clip
from liveness_service.errors import ClipsUnsupportedError, ScoringFailedError
from liveness_service.observability.stages import stage
from liveness_service.results import (
    CLIP_TOO_SHORT,
    FACE_CHANGED,
    FRAME_UNREADABLE,
    MULTIPLE_FACES,
    TOO_FEW_FRAMES,
    ClipResult,
    FaceResult,
    FrameResult,
    Verdict,
)
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.continuity import is_same_face
from liveness_service.scoring.frames import FrameLook, RefusedFrame, UsableFrame
from liveness_service.scoring.model import Model
from liveness_service.scoring.pipeline import ChosenPoint, Pipeline
from liveness_service.scoring.verdict import verdict_of_score
from liveness_service.submission import ScoreOptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip whose frames were chosen and looked at, before scoring."""

    refusals: tuple[str, ...]
    """Why the clip is not scored; empty if it is scored."""
    usable: tuple[UsableFrame, ...] = ()
    """The frames that can be scored, in the order of time."""
    frames: tuple[FrameResult, ...] = ()
    """The T frames that represent the clip, without scores; empty if the clip is too short."""
    duration_s: float = 0.0
    """Length of the clip in seconds."""
    fps: float = 0.0
    """Mean number of frames a second."""
    width: int = 0
    """Width of the upright frames in pixels; 0 if none was decoded."""
    height: int = 0
    """Height of the upright frames in pixels; 0 if none was decoded."""

    @property
    def groups(self) -> list[list[Picture]]:
        """All crops in one group, since the temporal head needs them together; no group if the clip is refused."""
        return [] if self.refusals or not self.usable else [[frame.crop for frame in self.usable]]


class ClipPipeline(Pipeline[PreparedClip, ClipResult]):
    """Scores clips with one model."""

    def __init__(
        self,
        model: Model,
        batcher: MicroBatcher,
        threads: ThreadPoolExecutor,
        limits: VideoLimits,
        min_seconds: float,
    ) -> None:
        super().__init__(model, batcher, threads)
        self._limits = limits
        self._min_seconds = min_seconds

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

    def _prepare(self, content: bytes, options: ScoreOptions, unwanted: Callable[[], bool]) -> PreparedClip:
        head, _ = self._head()
        # Detection and alignment inside are stages of their own, so `decode` counts the decoding alone.
        with stage("decode") as span, opened_clip(content, self._limits, unwanted) as video:
            if video.frames < head.clip.frames or video.duration_s < self._min_seconds:
                return PreparedClip((CLIP_TOO_SHORT,), duration_s=video.duration_s, fps=video.fps)
            middles = head.clip.positions(video.frames)
            look = FrameLook(self._model, options.faces, (middles[0], middles[-1]))
            taken = sample(video, head.clip, look)
            span.set_attribute("liveness.frames_looked_at", look.count)
            frames = tuple(
                _frame_result(video, middle, found, look.refused) for middle, found in zip(middles, taken, strict=True)
            )
            width, height = look.size
            return PreparedClip(
                refusals=_refusals(taken, frames, look.refused),
                usable=tuple(found.value for found in taken if found is not None),
                frames=frames,
                duration_s=video.duration_s,
                fps=video.fps,
                width=width,
                height=height,
            )

    async def _conclude(
        self, prepared: PreparedClip, scored: Sequence[Scored], options: ScoreOptions, point: ChosenPoint
    ) -> ClipResult:
        middle = len(prepared.usable) // 2
        shown = prepared.usable[middle] if prepared.usable else None
        face = None if shown is None else FaceResult(shown.face, shown.quality, Verdict.UNDETERMINED, prepared.refusals)
        verdict, score, frame_score, frames = Verdict.UNDETERMINED, None, None, prepared.frames
        if scored and shown is not None:
            (own,) = scored
            score = await self._clip_score(own)
            frame_scores = [float(result.score) for result in own.results]
            verdict, frame_score = verdict_of_score(score, point.threshold), float(np.mean(frame_scores))
            frames = tuple(
                replace(frame, score=frame_score_) for frame, frame_score_ in zip(frames, frame_scores, strict=True)
            )
            heatmap = await self._heatmap(shown.crop, own, middle, options)
            face = FaceResult(shown.face, shown.quality, verdict, (), score, heatmap)
        return ClipResult(
            verdict=verdict,
            reasons=prepared.refusals,
            score=score,
            frame_score=frame_score,
            threshold=point.threshold,
            operating_point=point.name,
            face=face,
            frames=frames,
            frames_used=len(prepared.usable),
            duration_s=prepared.duration_s,
            fps=prepared.fps,
            width=prepared.width,
            height=prepared.height,
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


def _frame_result(
    video: VideoReader, middle: int, taken: Sampled[UsableFrame] | None, refused: Mapping[int, RefusedFrame]
) -> FrameResult:
    if taken is not None:
        return FrameResult(taken.position, taken.value.time_s, box=taken.value.face.box)
    seen = refused.get(middle, RefusedFrame(None, (FRAME_UNREADABLE,)))
    box = None if seen.face is None else seen.face.box
    return FrameResult(middle, video.time_s(middle), box=box, reasons=seen.reasons)


def _refusals(
    taken: Sequence[Sampled[UsableFrame] | None],
    frames: Sequence[FrameResult],
    refused: Mapping[int, RefusedFrame],
) -> tuple[str, ...]:
    """Why a clip is not scored, the reason to fix first at the front; empty if the clip is scored."""
    if any(MULTIPLE_FACES in frame.reasons for frame in refused.values()):
        return (MULTIPLE_FACES,)
    if None in taken:
        # The reasons of all missing frames, each once. If no frame is usable, these reasons alone say what to fix, and
        # `too_few_frames` would add nothing.
        causes = tuple(dict.fromkeys(reason for frame in frames for reason in frame.reasons))
        return causes if not any(taken) and causes != (FRAME_UNREADABLE,) else (TOO_FEW_FRAMES, *causes)
    looks = [found.value.appearance for found in taken if found is not None]
    if not all(is_same_face(before, after) for before, after in pairwise(looks)):
        return (FACE_CHANGED,)
    return ()
