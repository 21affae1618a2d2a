"""From a decoded frame to a picture to be looked at: square pixels, not larger than needed, the right way up."""

from dataclasses import dataclass
from typing import Literal, cast

import av
import numpy as np
from av.video.stream import VideoStream

from liveness_core.types import Picture

MAX_SIDE_PX = 1920
"""Frames are reduced to this while they are converted: a face that can be scored is large, and 8K costs no more."""

_MAX_PIXEL_ASPECT = 4  # what claims a longer pixel is damaged


@dataclass(frozen=True, slots=True)
class _Orientation:
    """From a stored frame to an upright one: rows and columns change places, then each runs on (1) or back (-1)."""

    is_transposed: bool
    down: Literal[1, -1]
    right: Literal[1, -1]


# By how much the stored frame is turned clockwise.
_TURNS = {
    0: _Orientation(False, 1, 1),
    90: _Orientation(True, 1, -1),
    180: _Orientation(False, -1, -1),
    270: _Orientation(True, -1, 1),
}


class Upright:
    """Makes pictures of one stream's frames.

    Args:
        stream: of the frames.
        turn_deg: by how much they are to be turned clockwise where the container does not say: 0, 90, 180 or 270.
    """

    def __init__(self, stream: VideoStream, turn_deg: int) -> None:
        self._aspect = _pixel_aspect(stream)
        self._turn_deg = turn_deg
        self._orientation: _Orientation | None = None

    def picture(self, frame: av.VideoFrame) -> tuple[Picture, int, int]:
        """The upright RGB picture, and width and height that it would have at full size.

        Raises:
            av.FFmpegError, ValueError: the frame cannot be converted.
        """
        # Made square by enlarging: nothing is thrown away for it.
        width = round(frame.width * max(self._aspect, 1.0))
        height = round(frame.height / min(self._aspect, 1.0))
        factor = min(1.0, MAX_SIDE_PX / max(width, height))
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        picture = frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray().astype(np.uint8, copy=False)
        if self._orientation is None:
            self._orientation = _orientation_of(frame, self._turn_deg)
        if self._orientation.is_transposed:
            picture, width, height = picture.swapaxes(0, 1), height, width
        return np.ascontiguousarray(picture[:: self._orientation.down, :: self._orientation.right]), width, height


def _pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT else 1.0


def _orientation_of(frame: av.VideoFrame, turn_deg: int) -> _Orientation:
    """What the container says of it, or else the caller.

    Asked once a video: in PyAV a frame whose side data were looked at refers to itself, and lives with all of its
    decoder's frames, hundreds of megabytes in 4K, until the garbage collector comes by.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return _TURNS[turn_deg % 360]
    # Where a pixel (x, y) goes: x' = a x + c y, y' = b x + d y, in the rows a b u, c d v, x y w (QuickTime's matrix).
    content = cast("bytes", matrix)  # PyAV's class has the buffer protocol, its stub does not say so
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(content, np.int32))
    is_transposed = abs(b) + abs(c) > abs(a) + abs(d)
    if is_transposed:
        a, d = c, b
    return _Orientation(is_transposed, -1 if d < 0 else 1, -1 if a < 0 else 1)
