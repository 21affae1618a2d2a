"""Makes crops of uploads: decodes them, finds the faces and cuts them out. Strangers' bytes are read here only.

What comes out depends on the settings of the preparation, the content and the face policy alone, so it does not matter
in which thread or process it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from liveness_core.alignment import align
from liveness_core.clips import ClipSpec, Sampled, sample
from liveness_core.detection.rotated import is_rotated
from liveness_core.detection.scaling import enlarge_face
from liveness_core.quality import measure, refusals
from liveness_core.types import DetectedFace, Picture
from liveness_core.video import VideoLimits, VideoReader
from liveness_service.decoding.clip import opened_clip
from liveness_service.decoding.image import ImageLimits
from liveness_service.decoding.scaled import ScaledImage
from liveness_service.observability.stages import stage
from liveness_service.results import (
    CLIP_TOO_SHORT,
    FACE_CHANGED,
    FACE_ROTATED,
    FRAME_UNREADABLE,
    MULTIPLE_FACES,
    TOO_FEW_FRAMES,
    FrameResult,
)
from liveness_service.scoring.continuity import is_same_face
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.frames import FrameLook, RefusedFrame, UsableFrame
from liveness_service.scoring.prepared import Candidate, ClipFace, ClipFacts, Facts_co, PhotoFacts, Prepared
from liveness_service.scoring.search import search
from liveness_service.scoring.verdict import refusal_of_count
from liveness_service.submission import FacePolicy


class Preparation(Protocol[Facts_co]):
    """Makes crops of uploads of one kind."""

    def prepare(self, content: bytes, faces: FacePolicy, unwanted: Callable[[], bool]) -> Prepared[Facts_co]:
        """Make crops of an uploaded file. It may stop early once `unwanted` returns True.

        Raises:
            ServiceError: the content is at fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class PhotoPreparation:
    """Prepares photos."""

    finder: Finder
    limits: ImageLimits
    max_faces: int
    """Most faces of a photo that are shown."""

    def prepare(self, content: bytes, faces: FacePolicy, unwanted: Callable[[], bool]) -> Prepared[PhotoFacts]:  # noqa: ARG002 (none of its steps can be interrupted)
        """See `Preparation`."""
        most_shown = 1 if faces is FacePolicy.LARGEST else self.max_faces
        seen = search(content, self.limits, self.finder.detector, self.finder.crop, most_shown)
        refusal = refusal_of_count(len(seen.faces), faces, self.max_faces)
        with stage("align"):
            judged = [self._judged(seen.image, face, scored=refusal is None) for face in seen.faces[:most_shown]]
        return Prepared(
            PhotoFacts(seen.image.width, seen.image.height, refusal, tuple(candidate for candidate, _ in judged)),
            tuple(crop for _, crop in judged if crop is not None),
        )

    def _judged(self, image: ScaledImage, face: DetectedFace, *, scored: bool) -> tuple[Candidate, Picture | None]:
        quality = measure(image.picture, face)
        quality = replace(quality, face_px=quality.face_px * image.factor)
        reasons = refusals(quality, self.finder.gates)
        crop = None
        if scored and not reasons and is_rotated(self.finder.detector, image.picture, face):
            reasons = (FACE_ROTATED,)
        if scored and not reasons:
            spec = self.finder.crop
            crop = align(image.picture, face, margin=spec.margin, size=spec.size).pixels
        return Candidate(enlarge_face(face, image.factor), quality, reasons, crop is not None), crop


@dataclass(frozen=True, slots=True)
class ClipPreparation:
    """Prepares clips."""

    finder: Finder
    clip: ClipSpec
    limits: VideoLimits
    min_seconds: float
    """Shortest clip that is looked at."""

    def prepare(self, content: bytes, faces: FacePolicy, unwanted: Callable[[], bool]) -> Prepared[ClipFacts]:
        """See `Preparation`."""
        # Detection and alignment inside are stages of their own, so `decode` counts the decoding alone.
        with stage("decode") as span, opened_clip(content, self.limits, unwanted) as video:
            if video.frames < self.clip.frames or video.duration_s < self.min_seconds:
                return Prepared(ClipFacts((CLIP_TOO_SHORT,), duration_s=video.duration_s, fps=video.fps), ())
            middles = self.clip.positions(video.frames)
            look = FrameLook(self.finder, faces, (middles[0], middles[-1]))
            taken = sample(video, self.clip, look)
            span.set_attribute("liveness.frames_looked_at", look.count)
            frames = tuple(
                _frame_result(video, middle, found, look.refused) for middle, found in zip(middles, taken, strict=True)
            )
            usable = [found.value for found in taken if found is not None]
            width, height = look.size
            facts = ClipFacts(
                refusals=_refusals(taken, frames, look.refused),
                usable=tuple(ClipFace(frame.face, frame.quality) for frame in usable),
                frames=frames,
                duration_s=video.duration_s,
                fps=video.fps,
                width=width,
                height=height,
            )
            return Prepared(facts, tuple(frame.crop for frame in usable[: facts.crops]))


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
