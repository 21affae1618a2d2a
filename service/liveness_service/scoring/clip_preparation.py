"""Makes crops of clips: chooses the frames, and says why a clip is not scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from liveness_core.clips import ClipSpec, Sampled, sample
from liveness_core.quality import TOO_COMPRESSED
from liveness_core.types import Box
from liveness_core.video import VideoLimits, VideoReader
from liveness_service.decoding.clip import opened_clip
from liveness_service.observability.stages import stage
from liveness_service.results import (
    CLIP_TOO_SHORT,
    FRAME_UNREADABLE,
    MULTIPLE_FACES,
    NO_FACE,
    STATIC_CLIP,
    TOO_FEW_FRAMES,
    FrameResult,
)
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.following import Following
from liveness_service.scoring.frames import FrameLook, RefusedFrame, UsableFrame
from liveness_service.scoring.prepared import ClipFace, ClipFacts, Prepared
from liveness_service.submission import FacePolicy

_Taken = Sequence[Sampled[UsableFrame] | None]


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
            times = [video.time_s(position) for position in range(video.frames)]
            middles = self.clip.middles(times, video.duration_s)
            look, following = FrameLook(self.finder, faces, (middles[0], middles[-1])), Following(video)
            taken = sample(video, self.clip, look, is_away=look.is_away, glance=following.glance)
            span.set_attribute("liveness.frames_looked_at", look.count)
            usable = [found for found in taken if found is not None]
            reasons, against = self._refusals(video, taken, middles, look, following)
            width, height = look.size
            facts = ClipFacts(
                refusals=reasons,
                usable=tuple(ClipFace(found.value.face, found.value.quality) for found in usable),
                frames=_frames(usable, against),
                duration_s=video.duration_s,
                fps=video.fps,
                width=width,
                height=height,
            )
            return Prepared(facts, tuple(found.value.crops for found in usable[: facts.crops]))

    def _refusals(
        self, video: VideoReader, taken: _Taken, middles: Sequence[int], look: FrameLook, following: Following
    ) -> tuple[tuple[str, ...], list[FrameResult]]:
        """Why a clip is not scored, the reason to fix first at the front, and the frames that say so; else nothing."""
        if look.is_crowded:
            crowded = {p: frame for p, frame in look.refused.items() if MULTIPLE_FACES in frame.reasons}
            return (MULTIPLE_FACES,), _refused(crowded)
        if None in taken:
            missed = _refused(look.refused) + _unreadable(video, middles, look, taken)
            # The reasons of all missing frames, each once. If no frame is usable, these reasons alone say what to fix,
            # and `too_few_frames` would add nothing.
            missed.sort(key=lambda frame: frame.index)
            causes = tuple(dict.fromkeys(reason for frame in missed for reason in frame.reasons))
            # A better record of a still is a still: that is what to say first. Who was away may have changed places.
            if NO_FACE not in causes and following.is_still(_faces_seen(taken, look)):
                return (STATIC_CLIP, *causes), missed
            return causes if not any(taken) and causes != (FRAME_UNREADABLE,) else (TOO_FEW_FRAMES, *causes), missed
        usable = [(found.position, found.value) for found in taken if found is not None]
        reasons, against = following.refusals(usable, [p for p in look.refused if look.is_away(p)])
        most = self.finder.gates.max_mean_blockiness(smooths_blocks=video.smooths_blocks)
        # The mean of all frames: a coder's blocks show most right after a motion, and hardly before the next one.
        if most is not None and sum(frame.quality.blockiness for _, frame in usable) > most * len(usable):
            reasons = (TOO_COMPRESSED, *reasons)
        return reasons, against


def _frames(usable: Sequence[Sampled[UsableFrame]], against: Sequence[FrameResult]) -> tuple[FrameResult, ...]:
    """The used frames and those that speak against the clip, in the order of time."""
    told = {frame.index for frame in against}
    used = [
        FrameResult(found.position, found.value.time_s, box=found.value.face.box)
        for found in usable
        if found.position not in told
    ]
    return tuple(sorted([*used, *against], key=lambda frame: frame.index))


def _faces_seen(taken: _Taken, look: FrameLook) -> list[tuple[float, Box]]:
    """When a face was seen, and where, be its frame usable or not, in the order of time."""
    used = [(found.value.time_s, found.value.face.box) for found in taken if found is not None]
    refused = [(frame.time_s, frame.face.box) for frame in look.refused.values() if frame.face is not None]
    return sorted([*used, *refused], key=lambda seen: seen[0])


def _refused(refused: Mapping[int, RefusedFrame]) -> list[FrameResult]:
    return [
        FrameResult(position, frame.time_s, box=None if face is None else face.box, reasons=frame.reasons)
        for position, frame in sorted(refused.items())
        for face in (frame.face, *frame.others)
    ]


def _unreadable(video: VideoReader, middles: Sequence[int], look: FrameLook, taken: _Taken) -> list[FrameResult]:
    """The middle frames that could not be decoded."""
    read = {*look.refused} | {found.position for found in taken if found is not None}
    return [
        FrameResult(middle, video.time_s(middle), reasons=(FRAME_UNREADABLE,))
        for middle in sorted({*middles} - read)
        if look.is_lacking(middle)
    ]
