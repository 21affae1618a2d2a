"""From a decoded frame to an upright picture with square pixels, no larger than needed."""

from dataclasses import dataclass
from typing import Literal, cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from liveness_core.types import Picture
from liveness_core.video.hdr import HDR_TRANSFERS, tone_mapped

MAX_SIDE_PX = 1920
"""Longer side to which larger frames are reduced while they are converted, so that 8K costs no more than full HD. A
face that is large enough to be scored stays so."""

SMALL_SIDE_PX = 192
"""Longer side of the small copies, which show where something moves or changes."""

_PLANAR = {"yuv420p": False, "yuvj420p": True}  # what cameras store; whether by name with the full range of values
_FULL_RANGE = 2  # FFmpeg's number

_HALVED = 3
"""A side is halved while it has so many times the pixels that it is to have. Halved to hardly more than these, places
would differ in sharpness where a pixel of the copy lies on one or on two of them, and points would seem to move."""

_FROM_VIDEO_RANGE = (np.clip(np.arange(256, dtype=np.float32) - 16, 0, 219) * np.float32(255 / 219)).astype(np.uint8)
"""Luma of 0 to 255 for that of a video, where black is 16 and white 235."""

_MAX_PIXEL_ASPECT = 4  # a file that claims longer pixels is damaged


@dataclass(frozen=True, slots=True)
class _Orientation:
    """How a stored frame becomes upright: rows and columns may be swapped, then each may be reversed (-1)."""

    is_transposed: bool
    down: Literal[1, -1]
    right: Literal[1, -1]


# By how many degrees the stored frame has to be turned clockwise.
_TURNS = {
    0: _Orientation(False, 1, 1),
    90: _Orientation(True, 1, -1),
    180: _Orientation(False, -1, -1),
    270: _Orientation(True, -1, 1),
}


class Upright:
    """Makes upright pictures of the frames of one stream.

    Args:
        stream: the stream that the frames come from.
        turn_deg: how far they have to be turned clockwise where the container does not say: 0, 90, 180 or 270.
    """

    def __init__(self, stream: VideoStream, turn_deg: int) -> None:
        self._aspect = _pixel_aspect(stream)
        self._turn_deg = turn_deg
        self._orientation: _Orientation | None = None

    def picture(self, frame: av.VideoFrame, *, small: bool = False) -> tuple[Picture, int, int]:
        """The upright RGB picture, and the width and height that it would have at full size.

        Args:
            frame: the decoded frame.
            small: make a copy of `SMALL_SIDE_PX` only.

        Raises:
            av.FFmpegError, ValueError: the frame cannot be converted.
        """
        # Pixels are made square by enlarging their shorter side, so that no detail is lost.
        width = round(frame.width * max(self._aspect, 1.0))
        height = round(frame.height / min(self._aspect, 1.0))
        factor = min(1.0, (SMALL_SIDE_PX if small else MAX_SIDE_PX) / max(width, height))
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        if small and frame.format.name in _PLANAR:
            picture = _small(frame, size)
        elif frame.color_trc in HDR_TRANSFERS:
            wide = frame.reformat(*size, format="rgb48le", interpolation="AREA").to_ndarray()
            picture = tone_mapped(wide, HDR_TRANSFERS[frame.color_trc])
        else:
            rgb = frame.reformat(*size, format="rgb24", interpolation="AREA")
            picture = rgb.to_ndarray().astype(np.uint8, copy=False)
        if self._orientation is None:
            self._orientation = _orientation_of(frame, self._turn_deg)
        if self._orientation.is_transposed:
            picture, width, height = picture.swapaxes(0, 1), height, width
        return np.ascontiguousarray(picture[:: self._orientation.down, :: self._orientation.right]), width, height


def _small(frame: av.VideoFrame, size: tuple[int, int]) -> Picture:
    """A small RGB copy, several times as fast as FFmpeg's own: the planes are reduced before they become RGB."""
    planes: list[NDArray[np.uint8]] = []
    for plane in frame.planes:
        stored = np.frombuffer(cast("bytes", plane), np.uint8).reshape(plane.height, plane.line_size)
        # Colours have half as many pixels, and less detail than could alias.
        planes.append(reduced(stored[:, : plane.width], size, cv2.INTER_LINEAR if planes else cv2.INTER_AREA))
    luma, blue, red = planes
    if not _PLANAR[frame.format.name] and frame.color_range != _FULL_RANGE:
        luma = np.asarray(cv2.LUT(luma, _FROM_VIDEO_RANGE), np.uint8)
    picture = cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2RGB)
    return picture.astype(np.uint8, copy=False)


def reduced(picture: NDArray[np.uint8], size: tuple[int, int], last: int = cv2.INTER_AREA) -> NDArray[np.uint8]:
    """A small copy that averages areas, in a fraction of the time that one step takes.

    OpenCV halves a picture thirty times as fast as it averages areas of any other ratio. Sides of odd length are left
    to the last step.

    Args:
        picture: shape (H, W) or (H, W, 3).
        size: width and height of the copy.
        last: OpenCV's interpolation for a last step from less than twice the size; a larger one averages areas.
    """
    height, width = picture.shape[:2]
    while width % 2 == height % 2 == 0 and width >= _HALVED * size[0] and height >= _HALVED * size[1]:
        width, height = width // 2, height // 2
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    last = last if width < 2 * size[0] and height < 2 * size[1] else cv2.INTER_AREA
    return cv2.resize(picture, size, interpolation=last).astype(np.uint8, copy=False)


def _pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height; 1 where the file says nothing credible."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT else 1.0


def _orientation_of(frame: av.VideoFrame, turn_deg: int) -> _Orientation:
    """The orientation that the container states, else the one that the caller gave.

    It is asked for once per video. In PyAV a frame whose side data were read refers to itself: it and all frames of its
    decoder, hundreds of megabytes in 4K, stay in memory until the garbage collector runs.
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
