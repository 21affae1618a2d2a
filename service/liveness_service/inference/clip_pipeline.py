"""One clip's way: decode T frames and follow the face in a thread, score them in a batch and as a clip, conclude."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np
import structlog

from liveness_core.alignment import align
from liveness_core.bundle import OperatingPoint, TemporalHead
from liveness_core.clips import Sampled, sample
from liveness_core.detection.scaling import enlarge_face
from liveness_core.detection.tracking import FaceTracker
from liveness_core.quality import measure, refusals
from liveness_core.scoring import ClipScorer
from liveness_core.types import DetectedFace, Picture, Quality
from liveness_core.video import VideoFrame, VideoLimits, VideoReader
from liveness_service.decoding.clip import opened_clip
from liveness_service.errors import ClipsUnsupportedError, ScoringFailedError
from liveness_service.inference.batcher import MicroBatcher, Scored
from liveness_service.inference.continuity import Appearance, appearance, is_same_face
from liveness_service.inference.explain import heatmap_png
from liveness_service.inference.model import Model
from liveness_service.inference.pipeline import ScoreOptions, choose_point
from liveness_service.inference.results import (
    CLIP_TOO_SHORT,
    FACE_CHANGED,
    FRAME_UNREADABLE,
    MULTIPLE_FACES,
    NO_FACE,
    TOO_FEW_FRAMES,
    ClipResult,
    FacePolicy,
    FaceResult,
    FrameResult,
    Timings,
    Verdict,
)
from liveness_service.inference.rules import verdict_of_score
from liveness_service.observability.tracing import stage

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Usable:
    """A frame that can be scored."""

    face: DetectedFace
    """In pixels of the upright frame."""
    quality: Quality
    crop: Picture
    appearance: Appearance
    time_s: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """A frame that cannot."""

    face: DetectedFace | None
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Prepared:
    taken: tuple[Sampled[_Usable] | None, ...] = ()
    """For each part of the clip what is scored of it."""
    frames: tuple[FrameResult, ...] = ()
    """Without their scores."""
    refusals: tuple[str, ...] = ()
    """Why the clip is not scored."""
    duration_s: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    refused: dict[int, _Refused] = field(default_factory=dict)
    """Position -> a frame that was looked at in vain."""


class ClipPipeline:
    """Scores clips with one model. Its threads and its batcher bound what runs at once."""

    def __init__(
        self,
        model: Model,
        batcher: MicroBatcher,
        threads: ThreadPoolExecutor,
        limits: VideoLimits,
        min_seconds: float,
    ) -> None:
        self._model = model
        self._batcher = batcher
        self._threads = threads
        self._limits = limits
        self._min_seconds = min_seconds

    def operating_point(self, name: str | None) -> tuple[str, OperatingPoint]:
        """The temporal head's operating point of this name, or the default one.

        Raises:
            ClipsUnsupportedError: the bundle has no temporal head.
            InvalidParameterError: it has no operating point of this name.
        """
        head, _ = self._head()
        return choose_point(head.operating_points, name, self._model.bundle.manifest.default_operating_point)

    def _head(self) -> tuple[TemporalHead, ClipScorer]:
        bundle = self._model.bundle
        if bundle.manifest.temporal is None or bundle.clip_scorer is None:
            raise ClipsUnsupportedError(
                f"the bundle {bundle.manifest.name} has no temporal head (temporal.onnx), it scores photos only: send "
                "frames to /v1/liveness, or load a bundle that was trained with clips (docs/training.md)"
            )
        return bundle.manifest.temporal, bundle.clip_scorer

    async def score(self, content: bytes, options: ScoreOptions) -> ClipResult:
        """The answer for an encoded clip.

        Raises:
            ServiceError: the content, a parameter or the model is at fault.
        """
        started = time.perf_counter()
        timings = Timings()
        name, point = self.operating_point(options.operating_point)
        prepared = await self._prepared(content, options, timings)
        usable = [each.value for each in prepared.taken if each is not None]
        middle = usable[len(usable) // 2] if usable else None
        face = (
            None if middle is None else FaceResult(middle.face, middle.quality, Verdict.UNDETERMINED, prepared.refusals)
        )
        verdict, score, frame_score, frames = Verdict.UNDETERMINED, None, None, prepared.frames
        if not prepared.refusals and middle is not None:
            scored, score = await self._score(usable, options, timings)
            each_score = [float(result.score) for result in scored.results]
            verdict, frame_score = verdict_of_score(score, point.threshold), float(np.mean(each_score))
            frames = tuple(replace(frame, score=own) for frame, own in zip(frames, each_score, strict=True))
            heatmap = None
            activation = scored.results[len(usable) // 2].activation
            if options.explain and activation is not None:
                with stage("heatmap"):
                    heatmap = await self._in_thread(partial(heatmap_png, middle.crop, activation))
            face = FaceResult(middle.face, middle.quality, verdict, (), score, heatmap)
        timings.total = (time.perf_counter() - started) * 1000
        return ClipResult(
            verdict=verdict,
            reasons=prepared.refusals,
            score=score,
            frame_score=frame_score,
            threshold=point.threshold,
            operating_point=name,
            face=face,
            frames=frames,
            frames_used=len(usable),
            duration_s=prepared.duration_s,
            fps=prepared.fps,
            width=prepared.width,
            height=prepared.height,
            timings_ms=timings,
        )

    async def _score(self, usable: list[_Usable], options: ScoreOptions, timings: Timings) -> tuple[Scored, float]:
        """The frames' scores, and the clip's."""
        _, scorer = self._head()
        scored = await self._batcher.submit([each.crop for each in usable], explain=options.explain)
        began = time.perf_counter()
        embeddings_1TD = np.stack([result.embedding for result in scored.results])[None]
        try:
            with stage("temporal"):
                score = float((await self._in_thread(lambda: scorer.score_embeddings(embeddings_1TD)))[0])
        except Exception as error:  # whatever it is, nothing may be concluded from it
            log.exception("temporal_head_failed")
            raise ScoringFailedError(
                "the temporal head failed on this clip; nothing is concluded: try again, and see the service's log"
            ) from error
        timings.queue = scored.queue_s * 1000
        timings.infer = (scored.infer_s + time.perf_counter() - began) * 1000
        return scored, score

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        # The request's ids and its span go along, for what is logged and traced there.
        here = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, here.run, work)

    async def _prepared(self, content: bytes, options: ScoreOptions, timings: Timings) -> _Prepared:
        unwanted = threading.Event()
        try:
            return await self._in_thread(lambda: self._prepare(content, options, timings, unwanted.is_set))
        finally:
            unwanted.set()  # a thread cannot be cancelled: it is told, and stops at the next packet

    def _prepare(
        self, content: bytes, options: ScoreOptions, timings: Timings, unwanted: Callable[[], bool]
    ) -> _Prepared:
        began = time.perf_counter()
        # What detect and align do not take of it is decoding: the three take turns.
        with stage("decode") as span, opened_clip(content, self._limits, unwanted) as video:
            prepared = _Prepared(duration_s=video.duration_s, fps=video.fps)
            head, _ = self._head()
            if video.frames < head.clip.frames or video.duration_s < self._min_seconds:
                prepared.refusals = (CLIP_TOO_SHORT,)
            else:
                middles = head.clip.positions(video.frames)
                look = _Look(self._model, options.faces, {middles[0], middles[-1]}, prepared, timings)
                prepared.taken = sample(video, head.clip, look)
                prepared.frames = tuple(
                    _frame_result(video, middle, taken, prepared.refused)
                    for middle, taken in zip(middles, prepared.taken, strict=True)
                )
                prepared.refusals = _refusals(prepared)
                span.set_attribute("liveness.frames_looked_at", look.count)
        timings.decode = (time.perf_counter() - began) * 1000 - timings.detect - timings.align
        return prepared


class _Look:
    """What is made of a frame: a crop to be scored, or a reason why not."""

    def __init__(
        self, model: Model, policy: FacePolicy, whole: set[int], prepared: _Prepared, timings: Timings
    ) -> None:
        self._manifest = model.bundle.manifest
        self._tracker = FaceTracker(model.detector)
        self._policy = policy
        self._whole = whole if policy is FacePolicy.SINGLE else set()
        self._prepared = prepared
        self._timings = timings
        self.count = 0

    def __call__(self, frame: VideoFrame) -> _Usable | None:
        """Look at a frame; what is refused is noted."""
        self._prepared.width, self._prepared.height = frame.width, frame.height
        self.count += 1
        marks = [time.perf_counter()]
        with stage("detect", frame=frame.position):
            # Where there must be no other face, the first frame and the last are searched whole.
            faces = self._tracker.find(frame.pixels, frame.position, whole=frame.position in self._whole)
        marks.append(time.perf_counter())
        with stage("align", frame=frame.position):
            usable = self._judge(frame, faces)
        marks.append(time.perf_counter())
        detect, align_ = ((end - start) * 1000 for start, end in pairwise(marks))
        self._timings.detect += detect
        self._timings.align += align_
        if isinstance(usable, _Refused):
            self._prepared.refused[frame.position] = usable
            return None
        return usable

    def _judge(self, frame: VideoFrame, faces: tuple[DetectedFace, ...]) -> _Usable | _Refused:
        if not faces:
            return _Refused(None, (NO_FACE,))
        face = faces[0]
        shown = enlarge_face(face, frame.scale)
        if len(faces) > 1 and self._policy is FacePolicy.SINGLE:
            return _Refused(shown, (MULTIPLE_FACES,))
        quality = measure(frame.pixels, face)
        quality = replace(quality, face_px=quality.face_px * frame.scale)
        reasons = refusals(quality, self._manifest.quality_gates)
        if reasons:
            return _Refused(shown, reasons)
        spec = self._manifest.preprocess
        crop = align(frame.pixels, face, margin=spec.margin, size=spec.size).pixels
        return _Usable(shown, quality, crop, appearance(frame.pixels, face), frame.time_s)


def _frame_result(
    video: VideoReader, middle: int, taken: Sampled[_Usable] | None, refused: dict[int, _Refused]
) -> FrameResult:
    if taken is not None:
        return FrameResult(taken.position, taken.value.time_s, box=taken.value.face.box)
    seen = refused.get(middle, _Refused(None, (FRAME_UNREADABLE,)))
    box = None if seen.face is None else seen.face.box
    return FrameResult(middle, video.time_s(middle), box=box, reasons=seen.reasons)


def _refusals(prepared: _Prepared) -> tuple[str, ...]:
    """Why a clip is not scored, what to mend first; empty where it is."""
    if any(MULTIPLE_FACES in each.reasons for each in prepared.refused.values()):
        return (MULTIPLE_FACES,)
    if None in prepared.taken:
        # Each reason of the frames that are missing once; without a single good frame they are all there is to say.
        causes = tuple(dict.fromkeys(reason for frame in prepared.frames for reason in frame.reasons))
        return causes if not any(prepared.taken) and causes != (FRAME_UNREADABLE,) else (TOO_FEW_FRAMES, *causes)
    looks = [each.value.appearance for each in prepared.taken if each is not None]
    if not all(is_same_face(before, after) for before, after in pairwise(looks)):
        return (FACE_CHANGED,)
    return ()
