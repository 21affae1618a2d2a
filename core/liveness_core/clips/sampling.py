"""Takes T frames of a clip by its clock.

A clip is divided into T parts of equal duration, and the frame in the middle of each part is taken. Where that frame is
not usable (it shows no face, or is damaged), the nearest usable frame of the same part is taken. A part that has none
at all, because the head was turned or the picture was blurred, is made up for by frames between those that were taken,
where they lie farthest apart.

That is done only where the clip as a whole was seen: no face may be away for longer than the spec allows, and the
frames must span the share of the clip that it asks for. Else the parts stay without a frame.

The number of looks is bounded: one at each of the T middle frames, at most 2 T at neighbours, and at most T to make up
for parts. A clip of which all middle frames can be read and none is usable is given up at once: a blink or a blur does
not happen T times.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Generic, Protocol, TypeVar

from liveness_core.clips.glances import glance_positions
from liveness_core.clips.spec import ClipSpec
from liveness_core.video import VideoFrame

_T = TypeVar("_T")

_SPARE = 2
"""How many times T neighbours are tried in all. The more parts lack a frame, the fewer are tried for each."""


class Video(Protocol):
    """What is needed of a `VideoReader`."""

    @property
    def frames(self) -> int: ...  # noqa: D102 (see VideoReader)
    @property
    def duration_s(self) -> float: ...  # noqa: D102 (see VideoReader)
    def time_s(self, position: int) -> float: ...  # noqa: D102 (see VideoReader)
    def read(  # noqa: D102 (see VideoReader)
        self, positions: Sequence[int], *, optional: bool = False, small: Collection[int] = ()
    ) -> Iterator[VideoFrame]: ...


@dataclass(frozen=True, slots=True)
class Sampled(Generic[_T]):
    """A frame that was taken."""

    position: int
    """Number of the frame in the video, from 0."""
    value: _T
    """What `look` made of the frame."""


def sample(
    video: Video,
    spec: ClipSpec,
    look: Callable[[VideoFrame], _T | None],
    *,
    is_away: Callable[[int], bool] = lambda _: True,
    glance: Callable[[VideoFrame], None] | None = None,
) -> tuple[Sampled[_T] | None, ...]:
    """Take T frames of a video by the rule of this module.

    Args:
        video: the video.
        spec: the rule's numbers.
        look: makes something of a frame, or returns None if the frame is not usable; called once per frame tried.
        is_away: whether no face was found in a frame, by its position, that is not usable.
        glance: is shown the small frames that are passed on the way, in the order of time; see `glance_positions`.

    Returns:
        T entries in the order of time: the frames that were taken, and None for each that is lacking.

    Raises:
        VideoError: the video can no longer be read, is beyond a limit, or was interrupted.
    """
    times = [video.time_s(position) for position in range(video.frames)]
    middles = spec.middles(times, video.duration_s)
    small = glance_positions(times) if glance is not None else ()
    found: dict[int, _T] = {}
    seen: dict[int, bool] = {}  # by position: whether there was a face, where the frame could be read

    def tried(frame: VideoFrame) -> _T | None:
        value = look(frame)
        seen[frame.position] = value is not None or not is_away(frame.position)
        return value

    for frame in video.read(middles, small=small):
        if glance is not None:
            glance(frame)
        if frame.position in middles and (value := tried(frame)) is not None:
            found[frame.position] = value
    parts: list[Sampled[_T] | None] = [
        Sampled(middle, found[middle]) if middle in found else None for middle in middles
    ]
    if not found and len(seen) == len({*middles}):
        return tuple(parts)
    lacking = [part for part, sampled in enumerate(parts) if sampled is None]
    part_of = _spares(spec.neighbours(times, video.duration_s), lacking)
    for frame in video.read(list(part_of), optional=True) if part_of else ():
        part = part_of[frame.position]
        best = parts[part]
        if best is not None and _distance(times, best.position, middles[part]) <= _distance(
            times, frame.position, middles[part]
        ):
            continue
        if (value := tried(frame)) is not None:
            parts[part] = Sampled(frame.position, value)
    if None not in parts or not _is_seen_enough(spec, times, video.duration_s, parts, seen):
        return tuple(parts)
    return _made_up(video, times, parts, {*seen}, tried)


def _spares(neighbours: Sequence[Sequence[int]], missing: Sequence[int]) -> dict[int, int]:
    """The frames to try for the parts that lack one, with their parts; the nearest ones of all parts first."""
    each = _SPARE * len(neighbours) // max(len(missing), 1)
    ranked = zip_longest(*(neighbours[part][:each] for part in missing))
    return {
        position: part for rank in ranked for part, position in zip(missing, rank, strict=True) if position is not None
    }


def _distance(times: Sequence[float], one: int, other: int) -> tuple[float, int]:
    return abs(times[one] - times[other]), abs(one - other)


def longest_absence_s(times: Sequence[float], duration_s: float, seen: Mapping[int, bool]) -> float:
    """The longest time, in seconds, for which no look found a face.

    It lasts from half-way to the look with a face before it to half-way to the one after it, or to the clip's ends.

    Args:
        times: when each frame is shown, in seconds.
        duration_s: length of the clip.
        seen: for the positions that were looked at, whether there was a face.
    """
    longest = since = 0.0
    before: tuple[float, bool] | None = None
    for position in sorted(seen):
        now, there = times[position], seen[position]
        if before is not None and before[1] != there:
            turn = (before[0] + now) / 2
            if there:
                longest = max(longest, turn - since)
            else:
                since = turn
        before = now, there
    if before is not None and not before[1]:
        longest = max(longest, duration_s - since)
    return longest


def _is_seen_enough(
    spec: ClipSpec,
    times: Sequence[float],
    duration_s: float,
    parts: Sequence[Sampled[_T] | None],
    seen: Mapping[int, bool],
) -> bool:
    taken = [times[sampled.position] for sampled in parts if sampled is not None]
    # Two frames at least, since one could not say that anything stayed as it was.
    if len(taken) < 2 or taken[-1] - taken[0] < spec.shortest_span_share * duration_s:
        return False
    return spec.allows_absence(longest_absence_s(times, duration_s, seen), duration_s)


def _made_up(
    video: Video,
    times: Sequence[float],
    parts: Sequence[Sampled[_T] | None],
    tried: set[int],
    look: Callable[[VideoFrame], _T | None],
) -> tuple[Sampled[_T] | None, ...]:
    """The frames that were taken, and more between them for the parts that have none: the widest gaps first."""
    taken = {sampled.position: sampled for sampled in parts if sampled is not None}
    looks = len(parts)
    while (lacking := len(parts) - len(taken)) and looks > 0:
        wanted = _between(times, sorted(taken), tried, min(lacking, looks))
        if not wanted:
            break
        looks -= len(wanted)
        tried |= {*wanted}
        for frame in video.read(wanted, optional=True):
            if (value := look(frame)) is not None:
                taken[frame.position] = Sampled(frame.position, value)
    return (*(taken[position] for position in sorted(taken)), *(None,) * (len(parts) - len(taken)))


def _between(times: Sequence[float], taken: Sequence[int], tried: set[int], most: int) -> list[int]:
    """The untried frames nearest to the middles of the widest gaps between frames that were taken."""
    gaps = sorted(pairwise(taken), key=lambda gap: times[gap[0]] - times[gap[1]])
    wanted = []
    for first, last in gaps:
        middle = (times[first] + times[last]) / 2
        free = [position for position in range(first + 1, last) if position not in tried]
        if free:
            wanted.append(min(free, key=lambda position: abs(times[position] - middle)))
        if len(wanted) == most:
            break
    return wanted
