"""Opens an uploaded clip and turns what is wrong with it into errors for the client."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from liveness_core.video import (
    NoVideoStreamError,
    VideoError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoReader,
)
from liveness_service.decoding.kinds import clip_kind, describe
from liveness_service.decoding.promise import promise
from liveness_service.errors import (
    DeadlineExceededError,
    EmptyBodyError,
    ServiceError,
    TooManyFramesError,
    TooManyPartsError,
    TooManyPixelsError,
    TooManySecondsError,
    TooManyStreamsError,
    TooMuchToDecodeError,
    UnreadableMediaError,
    UnsupportedMediaError,
)

INDEX_LIMITS = {"max_samples": 100_000, "max_edits": 1_000, "max_boxes": 50_000, "max_header_bytes": 8 << 20}
"""Limits on the index of a clip, far above what a camera writes. Thirty seconds have at most 1,800 frames, as many
entries of motion data and 1,500 packets of sound; a phone writes one to three edits, also for a clip that was cut; a
recording in fragments of one frame has 14,000 boxes. The tables of 100,000 samples take 2 MB of the file and 6 MB of
memory. Of Matroska and WebM, elements count as boxes, and what is no frame may have a 32nd of the header's bytes."""

MEMORY_OF_A_PIXEL = 28
"""Most memory that decoding takes for a pixel of a clip's frame: a decoder holds up to 17 frames. At 4K it was 9 for
H.264, 12 for VP9 and 27 for HEVC with 10 bits."""

# For each limit of a clip: the error, the setting or what else is the limit, and what the client can do.
_ERROR_OF_LIMIT: dict[str, tuple[type[ServiceError], str, str]] = {
    "seconds": (TooManySecondsError, "LIVENESS_MAX_CLIP_SECONDS", "send a shorter one"),
    "frames": (TooManyFramesError, "LIVENESS_MAX_CLIP_FRAMES", "send a shorter one, or one of fewer frames a second"),
    "pixels": (TooManyPixelsError, "LIVENESS_MAX_CLIP_PIXELS", "record it at a lower resolution"),
    "samples": (TooManyFramesError, "the size of its index", "send a shorter one, or the camera's own file"),
    "edits": (TooManyPartsError, "the length of its edit list", "send the camera's own file"),
    "boxes": (TooManyPartsError, "the number of its boxes", "send the camera's own file"),
    "header bytes": (TooManyPartsError, "the size of its header", "send the camera's own file"),
    "pixels to decode": (
        TooMuchToDecodeError,
        "LIVENESS_MAX_CLIP_DECODED_PIXELS",
        "send a shorter one, one of a lower resolution, or one with a keyframe every second",
    ),
    "seconds of processor time": (
        TooMuchToDecodeError,
        "LIVENESS_MAX_CLIP_CPU_MS",
        "send a shorter one, or one of a lower resolution",
    ),
    "streams": (TooManyStreamsError, "LIVENESS_MAX_CLIP_STREAMS", "send the camera's own file"),
}


@contextmanager
def opened_clip(content: bytes, limits: VideoLimits, interrupted: Callable[[], bool]) -> Iterator[VideoReader]:
    """Open a clip for reading its frames. While the context is open, reading raises the errors below.

    The kind of file is told from the content.

    Args:
        content: the bytes of the file.
        limits: the largest clip that is read.
        interrupted: called again and again while the clip is read; reading stops when it returns True.

    Raises:
        EmptyBodyError: there is no content.
        UnsupportedMediaError: the content is not a clip of an accepted kind, or has no pictures.
        TooManySecondsError, TooManyFramesError, TooManyPixelsError, TooManyStreamsError: the clip is beyond a limit.
        TooManyPartsError: its index would be too large.
        TooMuchToDecodeError: its frames take too much work.
        UnreadableMediaError: the clip is truncated or damaged.
        DeadlineExceededError: reading was interrupted.
    """
    if not content:
        raise EmptyBodyError("the clip has 0 bytes: check that the file was read before it was sent")
    if clip_kind(content) is None:
        raise UnsupportedMediaError(
            f"the content is {describe(content)}; accepted are MP4, MOV, 3GP, WebM, Matroska and AVI, told from the "
            "content"
        )
    try:
        video = VideoReader(io.BytesIO(content), limits, interrupted=interrupted)
        promise(MEMORY_OF_A_PIXEL * video.frame_pixels)
        yield video
    except VideoLimitError as error:
        kind, setting, advice = _ERROR_OF_LIMIT[error.limit]
        raise kind(f"{error}: {advice} ({setting} is the limit)", limit=_number(error.allowed)) from error
    except VideoInterruptedError as error:
        raise DeadlineExceededError("the clip was not read in time: send a shorter one") from error
    except NoVideoStreamError as error:
        raise UnsupportedMediaError(
            "the file holds no pictures: check that it is a clip and not sound alone"
        ) from error
    except VideoError as error:
        raise UnreadableMediaError(
            f"the clip cannot be read: {error}; check that it was sent whole and plays in a browser"
        ) from error


def _number(limit: float) -> int | float:
    return int(limit) if limit == int(limit) else limit
