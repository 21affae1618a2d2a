"""Follows one face through a clip: what lies between the frames that are scored.

| between two frames | the clip |
| --- | --- |
| the picture or the face is exchanged at once, or faded into another | `face_changed` |
| it changes in steps that motion can make | goes on, however different the two frames are |
| there are too few frames to follow it, or decoding them is too much | `face_changed` where the faces are too unlike |
| no face was there | `face_changed` where the faces look too unlike, wherever they are |
| the picture's size changes | `face_changed` where the faces look too unlike, wherever they are |
| only light or exposure changes | goes on |
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from liveness_core.clips import Glance, Step, follow, glance_of, is_doubtful, is_picture_exchanged, is_still
from liveness_core.types import Box
from liveness_core.video import VideoFrame, VideoReader
from liveness_service.results import FACE_CHANGED, STATIC_CLIP, FrameResult
from liveness_service.scoring.continuity import is_same_face, is_same_looks
from liveness_service.scoring.frames import UsableFrame

_FOLLOWED_S = 0.35
"""Glances no farther apart than this show whether a face moved or was exchanged."""
_MOST_CLOSER = 160
"""Small frames that are read at most to look closer at steps that are large."""


class Following:
    """The glances at one clip."""

    def __init__(self, video: VideoReader) -> None:
        """Begin with a new clip."""
        self._video = video
        self._glances: list[Glance] = []
        self._passed: dict[int, list[Glance]] = {}
        """Glances between one, by its position, and the next, where the step from one to the other is large."""
        self._is_exchanged: dict[tuple[int, int], bool] = {}

    def glance(self, frame: VideoFrame) -> None:
        """Remember a frame that is passed on the way, the latest one of those given."""
        glance = glance_of(frame)
        if self._glances:
            # Now frames between are at hand; later they would have to be decoded again.
            before = self._glances[-1]
            if self._is_picture_exchanged(before, glance) or is_doubtful(before, glance):
                self._passed[before.position] = [glance_of(passed) for passed in self._video.passed()]
        self._glances.append(glance)

    def refusals(
        self, usable: Sequence[tuple[int, UsableFrame]], away: Sequence[int]
    ) -> tuple[tuple[str, ...], list[FrameResult]]:
        """Why the clip is not one recording of one face, and the frames that say so; nothing if it is.

        Args:
            usable: position of each frame that can be scored, and what was seen in it, in order.
            away: positions of the frames in which no face was found.
        """
        # A glance without a face is no step on the way from one face to the next: the absence is judged by itself.
        self._glances = [glance for glance in self._glances if glance.position not in away]
        boxes = _boxes(self._glances, [(frame.time_s, frame.face.box) for _, frame in usable])
        changed = self._exchanged(boxes) or self._unlike(usable, away)
        # Two stills in turn that look unlike are both.
        if not is_still(self._glances, boxes):
            return ((FACE_CHANGED,) if changed else ()), changed
        told = {frame.index for frame in changed}
        static = [
            FrameResult(position, frame.time_s, box=frame.face.box, reasons=(STATIC_CLIP,))
            for position, frame in usable
            if position not in told
        ]
        return ((STATIC_CLIP, FACE_CHANGED) if changed else (STATIC_CLIP,)), [*changed, *static]

    def is_still(self, seen: Sequence[tuple[float, Box]]) -> bool:
        """Whether the clip is a still picture.

        Args:
            seen: when a frame with a face is shown, in seconds, and where the face is, in pixels of the whole frame, in
                the order of time; frames that cannot be scored are among them.
        """
        return is_still(self._glances, _boxes(self._glances, seen))

    def _exchanged(self, boxes: Sequence[Box | None]) -> list[FrameResult]:
        """The first two instants between which picture or face was exchanged."""
        suspects = follow(self._glances, boxes, self._is_picture_exchanged)
        fades, steps = [step for step in suspects if step.is_fade], [step for step in suspects if not step.is_fade]
        box_of = {glance.position: box for glance, box in zip(self._glances, boxes, strict=True)}
        # What is too large for a fifth of a second is looked at again, where motion is small: first in frames that are
        # at hand, then from frame to frame.
        steps = [step for step in steps if not self._is_motion(step, box_of[step.before.position])]
        between = [p for step in steps for p in range(step.before.position + 1, step.after.position)][:_MOST_CLOSER]
        closer = {}
        if between:
            closer = {frame.position: glance_of(frame) for frame in self._video.read((), small=between)}
        for step in [*steps, *fades]:
            if not step.is_fade:
                inner = [closer[p] for p in range(step.before.position + 1, step.after.position) if p in closer]
                found = self._narrower(step, inner, box_of[step.before.position])
                if not found:
                    continue
                return _instants(found[0], box_of, step)
            return _instants(step, box_of, step)
        return []

    def _is_motion(self, step: Step, box: Box | None) -> bool:
        """Whether frames that were passed between make small steps of a large one."""
        first, last = step.before.position, step.after.position
        inner = [glance for glance in self._passed.get(first, ()) if first < glance.position < last]
        return bool(inner) and not self._narrower(step, inner, box)

    def _narrower(self, step: Step, inner: Sequence[Glance], box: Box | None) -> list[Step]:
        """The large ones of the steps that lead over glances within a step."""
        chain = [step.before, *inner, step.after]
        return [narrow for narrow in follow(chain, [box] * len(chain)) if not narrow.is_fade]

    def _is_picture_exchanged(self, before: Glance, after: Glance) -> bool:
        """See `is_picture_exchanged`; asked once for each step."""
        key = before.position, after.position
        if key not in self._is_exchanged:
            self._is_exchanged[key] = is_picture_exchanged(before, after)
        return self._is_exchanged[key]

    def _unlike(self, usable: Sequence[tuple[int, UsableFrame]], away: Sequence[int]) -> list[FrameResult]:
        """The first two used frames that look like two faces, where nothing shows how one became the other."""
        for (start, before), (end, after) in pairwise(usable):
            if before.size != after.size or any(start < position < end for position in away):
                same = is_same_looks(before.appearance, after.appearance)
            elif self._is_followed(before.time_s, after.time_s):
                continue
            else:
                same = is_same_face(before.appearance, after.appearance)
            if not same:
                return [
                    FrameResult(position, frame.time_s, box=frame.face.box, reasons=(FACE_CHANGED,))
                    for position, frame in ((start, before), (end, after))
                ]
        return []

    def _is_followed(self, start_s: float, end_s: float) -> bool:
        times = [start_s, *(g.time_s for g in self._glances if start_s < g.time_s < end_s), end_s]
        return all(later - earlier <= _FOLLOWED_S for earlier, later in pairwise(times))


def _instants(narrow: Step, boxes: Mapping[int, Box | None], wide: Step) -> list[FrameResult]:
    return [
        FrameResult(glance.position, glance.time_s, box=boxes[known.position], reasons=(FACE_CHANGED,))
        for glance, known in ((narrow.before, wide.before), (narrow.after, wide.after))
    ]


def _boxes(glances: Sequence[Glance], seen: Sequence[tuple[float, Box]]) -> list[Box | None]:
    """Where the face is thought to be in each glance: between two looks on the line from one to the other."""
    boxes: list[Box | None] = []
    for glance in glances:
        before = next((look for look in reversed(seen) if look[0] <= glance.time_s), None)
        after = next((look for look in seen if look[0] >= glance.time_s), None)
        if before is None or after is None:
            nearest = before or after
            boxes.append(None if nearest is None else nearest[1])
            continue
        (start_s, one), (end_s, other) = before, after
        span = end_s - start_s
        share = (glance.time_s - start_s) / span if span else 0.0
        boxes.append(
            Box(
                one.x1 + share * (other.x1 - one.x1),
                one.y1 + share * (other.y1 - one.y1),
                one.x2 + share * (other.x2 - one.x2),
                one.y2 + share * (other.y2 - one.y2),
            )
        )
    return boxes
