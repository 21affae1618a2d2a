"""The rule by which a clip's frames are chosen, as numbers that a bundle carries."""

from bisect import bisect_right
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

_STEPS = 3
"""How many frames are tried on either side of a middle frame: enough to get past a blink or a blur."""
_EPSILON_S = 1e-6


class ClipSpec(BaseModel):
    """How a clip becomes the temporal head's input. Training writes it into the bundle, the service reads it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=8, ge=2, le=64)
    """T, the number of frames of a clip that are scored; 8 in the paper (section 4.1)."""
    longest_absence_s: float = Field(default=2.0, gt=0, le=60)
    """How long, in seconds, no face may be found before the clip is refused. Who turns the head or bends down is back
    within two seconds; longer is enough to change places with somebody."""
    longest_absence_share: float = Field(default=0.25, gt=0, le=1)
    """The same as a share of the clip's length, whichever is shorter: of a clip of two seconds, half a second."""
    shortest_span_share: float = Field(default=0.5, ge=0, le=1)
    """From the first used frame to the last one lies at least this share of the clip. The clip's verdict is for the
    whole clip, so a short usable stretch must not stand for the rest, which nobody could judge."""

    def positions(self, total: int) -> tuple[int, ...]:
        """The middle frame of each of the T parts of a clip with a constant frame rate, in order.

        Some frames are named more than once if the clip has fewer than T.

        Args:
            total: number of frames of the clip.

        Raises:
            ValueError: the clip has no frame.
        """
        if total < 1:
            raise ValueError("a clip without frames has no positions")
        return tuple((2 * part + 1) * total // (2 * self.frames) for part in range(self.frames))

    def middles(self, times: Sequence[float], duration_s: float) -> tuple[int, ...]:
        """The frame that is shown in the middle of each of the T equally long parts of a clip, in order.

        Args:
            times: when each frame is shown, in seconds after the first one, rising.
            duration_s: length of the clip; where it is 0 there are no times, and the frames count as equally long.
        """
        if duration_s <= 0:
            return self.positions(len(times))
        return tuple(_shown_at(times, (2 * part + 1) * duration_s / (2 * self.frames)) for part in range(self.frames))

    def neighbours(self, times: Sequence[float], duration_s: float) -> tuple[tuple[int, ...], ...]:
        """For each of the T parts, the frames that may replace its middle frame, nearest first.

        They lie one, two and three sevenths of the part's length before and after the middle, within the part. A part
        of few frames has fewer of them.
        """
        if duration_s <= 0:
            times, duration_s = range(len(times)), len(times)
        length = duration_s / self.frames
        neighbours = []
        for part, middle in enumerate(self.middles(times, duration_s)):
            instant = (part + 0.5) * length
            spread = [
                _nearest(times, instant + side * step * length / (2 * _STEPS + 1))
                for step in range(1, _STEPS + 1)
                for side in (1, -1)
            ]
            # A part of few frames: those next to its middle one.
            beside = [middle + side * step for step in range(1, _STEPS + 1) for side in (1, -1)]
            candidates = dict.fromkeys([*spread, *beside])
            inside = [
                position
                for position in candidates
                if 0 <= position < len(times)
                and position != middle
                and part * length - _EPSILON_S <= times[position] < (part + 1) * length - _EPSILON_S
            ]
            nearest_first = sorted(inside[: 2 * _STEPS], key=lambda position: (abs(position - middle), position))
            neighbours.append(tuple(nearest_first))
        return tuple(neighbours)

    def allows_absence(self, seconds: float, duration_s: float) -> bool:
        """Whether no face may be found for so long in a clip of this length."""
        return seconds <= min(self.longest_absence_s, self.longest_absence_share * duration_s) + _EPSILON_S


def _shown_at(times: Sequence[float], instant_s: float) -> int:
    """The frame that is shown at an instant."""
    return max(bisect_right(times, instant_s + _EPSILON_S) - 1, 0)


def _nearest(times: Sequence[float], instant_s: float) -> int:
    """The frame that begins nearest to an instant."""
    after = min(bisect_right(times, instant_s), len(times) - 1)
    return min((max(after - 1, 0), after), key=lambda position: abs(times[position] - instant_s))
