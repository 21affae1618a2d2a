"""Which videos are read at all, and the errors that refuse the others."""

from dataclasses import dataclass
from typing import Literal

Limit = Literal[
    "seconds",
    "frames",
    "pixels",
    "streams",
    "samples",
    "edits",
    "boxes",
    "header bytes",
    "pixels to decode",
    "seconds of processor time",
]

UNLIMITED = 2**31 - 1


class VideoError(ValueError):
    """A video cannot be read; the message says why."""


class VideoUnreadableError(VideoError):
    """The file is damaged, or is no video of the kinds that are read."""


class NoVideoStreamError(VideoUnreadableError):
    """The file holds no pictures, for example only sound."""


class VideoLimitError(VideoError):
    """The video is beyond one of the limits."""

    def __init__(self, limit: Limit, allowed: float) -> None:
        super().__init__(f"the video has more than {allowed:,.10g} {limit}")
        self.limit: Limit = limit
        self.allowed = allowed


class VideoInterruptedError(VideoError):
    """The caller's `interrupted` function ended the work."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Limits of what is read, checked before decoding and during it. By default there are none."""

    max_seconds: float = float("inf")
    max_frames: int = UNLIMITED
    max_pixels: int = UNLIMITED
    """Width times height of a frame."""
    max_streams: int = UNLIMITED
    max_samples: int = UNLIMITED
    """Entries of the file's index, of all streams together: pictures, packets of sound, and what else a file holds."""
    max_edits: int = UNLIMITED
    """Entries of an edit list, with which MP4 and MOV say which stretches are shown."""
    max_boxes: int = UNLIMITED
    """Boxes at the file's top level, and fragments, of MP4 and MOV; elements of Matroska and WebM."""
    max_header_bytes: int = UNLIMITED
    """Bytes of MP4 and MOV that are neither media data nor padding. Of Matroska and WebM a 32nd of this is allowed."""
    max_decoded_pixels: float = float("inf")
    """Pixels that are decoded in all, counted before decoding: frames that only lead to a wanted frame count too."""
    max_cpu_s: float = float("inf")
    """Processor time, in seconds, that the reading thread may use from opening the video to its last frame, with what
    the caller does between the frames."""
