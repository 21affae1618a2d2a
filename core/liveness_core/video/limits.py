"""What is read of a video at all, and how it is refused."""

from dataclasses import dataclass
from typing import Literal

Limit = Literal["seconds", "frames", "pixels", "streams"]

UNLIMITED = 2**31 - 1


class VideoError(ValueError):
    """A video cannot be read; the message says why."""


class VideoUnreadableError(VideoError):
    """It is damaged, or no video of the kinds that are read."""


class NoVideoStreamError(VideoUnreadableError):
    """It holds no pictures, only sound or less."""


class VideoLimitError(VideoError):
    """It is beyond a limit."""

    def __init__(self, limit: Limit, allowed: float) -> None:
        super().__init__(f"the video has more than {allowed:,.10g} {limit}")
        self.limit: Limit = limit
        self.allowed = allowed


class VideoInterruptedError(VideoError):
    """Whoever asked for it wants it no more."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What is read at all; checked before decoding and while it goes on. By default there is no limit."""

    max_seconds: float = float("inf")
    max_frames: int = UNLIMITED
    max_pixels: int = UNLIMITED
    """Width times height of a frame."""
    max_streams: int = UNLIMITED
