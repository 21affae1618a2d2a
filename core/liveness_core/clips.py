"""Which frames of a clip are used: one rule, for training and for the service.

A clip is divided into T equal parts, and the middle frame of each part is taken. Where that frame is not usable (it
shows no face, or is damaged), the nearest usable frame of the same part is taken instead, never one of another part.

The number of looks is bounded: one at each of the T middle frames, and at most 2 T more. A clip of which all middle
frames can be read and none is usable is given up at once: a blink or a blur does not happen T times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from liveness_core.video import VideoFrame, VideoReader

_T = TypeVar("_T")

_STEPS = 3
"""How many frames are tried on either side of a middle frame: enough to get past a blink or a blur."""
_SPARE = 2
"""How many times T further frames are tried in all. The more parts lack a frame, the fewer are tried for each."""


class ClipSpec(BaseModel):
    """How a clip becomes the temporal head's input. Training writes it into the bundle, the service reads it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=8, ge=2, le=64)
    """T, the number of frames of a clip that are scored; 8 in the paper (section 4.1)."""

    def positions(self, total: int) -> tuple[int, ...]:
        """The middle frame of each of the T parts of a clip, in order.

        Some frames are named more than once if the clip has fewer than T.

        Args:
            total: number of frames of the clip.

        Raises:
            ValueError: the clip has no frame.
        """
        if total < 1:
            raise ValueError("a clip without frames has no positions")
        return tuple((2 * part + 1) * total // (2 * self.frames) for part in range(self.frames))

    def neighbours(self, total: int) -> tuple[tuple[int, ...], ...]:
        """For each of the T parts, the frames that may replace its middle frame, nearest first.

        They lie one, two and three sevenths of the part's length before and after the middle, within the part. A part
        of few frames has fewer of them.
        """
        neighbours = []
        for part, middle in enumerate(self.positions(total)):
            first = -(-part * total // self.frames)
            last = -(-(part + 1) * total // self.frames) - 1
            step = total / self.frames / (2 * _STEPS + 1)
            candidates = {
                middle + side * max(round(step * count), count) for count in range(1, _STEPS + 1) for side in (1, -1)
            }
            inside = [position for position in candidates if first <= position <= last and position != middle]
            neighbours.append(tuple(sorted(inside, key=lambda position: (abs(position - middle), position))))
        return tuple(neighbours)


@dataclass(frozen=True, slots=True)
class Sampled(Generic[_T]):
    """The frame that was taken from one part of a clip."""

    position: int
    """Number of the frame in the video, from 0."""
    value: _T
    """What `look` made of the frame."""


def sample(
    video: VideoReader, spec: ClipSpec, look: Callable[[VideoFrame], _T | None]
) -> tuple[Sampled[_T] | None, ...]:
    """Take T frames of a video by the rule of this module.

    Args:
        video: the video.
        spec: says what T is.
        look: makes something of a frame, or returns None if the frame is not usable; called once per frame tried.

    Returns:
        For each of the T parts, in order, the frame that was taken; None if no frame that was tried is usable.

    Raises:
        VideoError: the video can no longer be read, is beyond a limit, or was interrupted.
    """
    middles = spec.positions(video.frames)
    found: dict[int, _T] = {}
    looked = 0
    for frame in video.read(middles):
        looked += 1
        value = look(frame)
        if value is not None:
            found[frame.position] = value
    taken = [Sampled(middle, found[middle]) if middle in found else None for middle in middles]
    if not found and looked == len({*middles}):
        return tuple(taken)
    part_of = _spares(spec.neighbours(video.frames), [part for part, sampled in enumerate(taken) if sampled is None])
    for frame in video.read(list(part_of), optional=True) if part_of else ():
        part = part_of[frame.position]
        best = taken[part]
        if best is not None and abs(best.position - middles[part]) <= abs(frame.position - middles[part]):
            continue
        value = look(frame)
        if value is not None:
            taken[part] = Sampled(frame.position, value)
    return tuple(taken)


def _spares(neighbours: Sequence[Sequence[int]], missing: Sequence[int]) -> dict[int, int]:
    """The frames to try for the parts that lack one, with their parts; the nearest ones of all parts first."""
    each = _SPARE * len(neighbours) // max(len(missing), 1)
    ranked = zip_longest(*(neighbours[part][:each] for part in missing))
    return {
        position: part for rank in ranked for part, position in zip(missing, rank, strict=True) if position is not None
    }
