"""Small pictures of scored files for reports: the face that was judged, or the whole picture where there is none."""

import io
from collections.abc import Callable

import cv2
from av.error import FFmpegError

from liveness_core.types import Box, Picture
from liveness_core.video import VideoError, VideoLimits, VideoReader
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.promise import NotNowError
from liveness_service.errors import ServiceError
from liveness_service.files import STANDARD_INPUT, FileResult, read_media
from liveness_service.results import ClipResult
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint

SIDE_PX = 200
"""Longest side of a thumbnail, in pixels."""
_AROUND = 1.8
"""How much larger than the face's box the part is that is shown, so that a bezel or the edge of a print is in it."""
_QUALITY = 82
"""JPEG quality; a thumbnail then has 5 to 12 KB."""


def thumbnail(scored: FileResult, settings: Settings) -> bytes | None:
    """A JPEG of at most `SIDE_PX` pixels a side; None where the file is no picture any more, or was standard input."""
    if scored.name == STANDARD_INPUT:
        return None
    result = scored.result
    faces = () if result is None else (result.face,) if isinstance(result, ClipResult) else result.faces[:1]
    box = next((face.face.box for face in faces if face is not None), None)
    try:
        content = read_media(scored.name)
        if scored.endpoint is Endpoint.CLIP:
            picture, scale = _frame(content, result, settings)
        else:
            width = 0 if result is None else result.width
            limits = ImageLimits(settings.max_pixels, max_scans=settings.max_scans)
            picture = decode_image(content, limits, opened=_reduction(box))
            scale = width / picture.shape[1] if width else 1.0
    except (ServiceError, NotNowError, VideoError, FFmpegError, OSError, ValueError):
        return None
    return _jpeg(picture if box is None else _part(picture, box, scale))


def _reduction(box: Box | None) -> Callable[[tuple[int, int], bool], int]:
    """How far a JPEG may be reduced while it is decoded: the part that is shown keeps `SIDE_PX` pixels."""

    def factor(size: tuple[int, int], reducible: bool) -> int:
        side = max(size) if box is None else _AROUND * max(box.width, box.height)
        return next((by for by in (8, 4, 2) if reducible and side >= by * SIDE_PX), 1)

    return factor


def _frame(content: bytes, result: object, settings: Settings) -> tuple[Picture, float]:
    """A frame of a clip, and the size of the upright frame over that of the picture."""
    limits = VideoLimits(
        max_seconds=settings.max_clip_seconds,
        max_frames=settings.max_clip_frames,
        max_pixels=settings.max_clip_pixels,
        max_decoded_pixels=settings.max_clip_decoded_pixels,
    )
    video = VideoReader(io.BytesIO(content), limits)
    frame = next(iter(video.read([_number_of_frame(result)])), None)
    if frame is None:
        raise ValueError("the frame cannot be decoded")
    return frame.pixels, frame.scale


def _number_of_frame(result: object) -> int:
    """The frame that the clip's face lies in, else the first one that was looked at."""
    if not isinstance(result, ClipResult) or not result.frames:
        return 0
    box = None if result.face is None else result.face.face.box
    return next((frame.index for frame in result.frames if frame.box == box), result.frames[0].index)


def _part(picture: Picture, box: Box, scale: float) -> Picture:
    """The square around a face, or what lies of it in the picture."""
    height, width = picture.shape[:2]
    x, y = (place / scale for place in box.centre)
    half = _AROUND / 2 * max(box.width, box.height) / scale
    left, right = max(int(x - half), 0), min(int(x + half) + 1, width)
    top, bottom = max(int(y - half), 0), min(int(y + half) + 1, height)
    return picture[top:bottom, left:right] if left < right and top < bottom else picture


def _jpeg(picture: Picture) -> bytes:
    share = min(1.0, SIDE_PX / max(picture.shape[:2]))
    size = max(1, round(share * picture.shape[1])), max(1, round(share * picture.shape[0]))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RuntimeError("OpenCV cannot write a JPEG")
    return encoded.tobytes()
