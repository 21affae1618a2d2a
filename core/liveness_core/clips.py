"""Which frames of a clip are looked at: one rule, for training and for the service.

A clip is cut into T equal parts. The middle frame of each part is taken. Where that one is of no use (no face, a
damaged frame), its nearest usable neighbour within the part stands in for it; no part ever lends a frame to another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from liveness_core.video import VideoFrame, VideoReader

_T = TypeVar("_T")

_STEPS = 3
"""Neighbours that are tried on either side of a middle frame: enough to get past a blink or a blur, and few enough
that a clip without a face costs little."""


class ClipSpec(BaseModel):
    """How a clip becomes the temporal head's input; written by training, read by the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=8, ge=2, le=64)
    """T, the frames of a clip that are scored; 8 in the paper (section 4.1)."""

    def positions(self, total: int) -> tuple[int, ...]:
        """The T frames to take of `total`, in order: the middle of each T-th of the clip.

        A clip shorter than T frames gives some of them more than once.

        Raises:
            ValueError: there is no frame.
        """
        if total < 1:
            raise ValueError("a clip without frames has no positions")
        return tuple((2 * place + 1) * total // (2 * self.frames) for place in range(self.frames))

    def neighbours(self, total: int) -> tuple[tuple[int, ...], ...]:
        """For each of the T parts the frames that may stand in for its middle one, nearest first.

        They lie at a seventh, two and three sevenths of the part's length before and after the middle, and in the
        part; a part of few frames has fewer.
        """
        found = []
        for place, middle in enumerate(self.positions(total)):
            first = -(-place * total // self.frames)
            last = -(-(place + 1) * total // self.frames) - 1
            step = total / self.frames / (2 * _STEPS + 1)
            places = {
                middle + side * max(round(step * count), count) for count in range(1, _STEPS + 1) for side in (1, -1)
            }
            inside = (each for each in places if first <= each <= last and each != middle)
            found.append(tuple(sorted(inside, key=lambda each: (abs(each - middle), each))))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Sampled(Generic[_T]):
    """What was taken of one part of a clip."""

    position: int
    """Of the frame, in the video."""
    value: _T
    """What was made of it."""


def sample(
    video: VideoReader, spec: ClipSpec, look: Callable[[VideoFrame], _T | None]
) -> tuple[Sampled[_T] | None, ...]:
    """Take T frames of a video by the rule above.

    Args:
        video: the video.
        spec: T.
        look: what to make of a frame, None where it is of no use; called once for each frame that is tried.

    Returns:
        For each of the T parts what was taken, in order; None where none of its frames that were tried is of use.

    Raises:
        VideoError: the video cannot be read any more, is beyond a limit, or was interrupted.
    """
    middles = spec.positions(video.frames)
    found: dict[int, _T] = {}
    for frame in video.read(middles):
        value = look(frame)
        if value is not None:
            found[frame.position] = value
    taken = [Sampled(middle, found[middle]) if middle in found else None for middle in middles]
    neighbours = spec.neighbours(video.frames)
    missing = [place for place, each in enumerate(taken) if each is None]
    part_of = {position: place for place in missing for position in neighbours[place]}
    for frame in video.read(list(part_of)) if part_of else ():
        place = part_of[frame.position]
        best = taken[place]
        if best is not None and abs(best.position - middles[place]) <= abs(frame.position - middles[place]):
            continue
        value = look(frame)
        if value is not None:
            taken[place] = Sampled(frame.position, value)
    return tuple(taken)
