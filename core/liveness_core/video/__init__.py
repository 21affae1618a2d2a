"""Frames out of a video: upright, RGB, at the positions asked for, and no more decoded than they need.

One reader for training and for the service, so that both see the same frames. A video is demuxed once to learn which
frames it has: containers state no number, or a wrong one, and a copy may have lost its end. Then only the stretches
between a keyframe and a wanted frame are decoded, without those frames in them that no other one refers to.

FFmpeg reads what it is given and nothing else: the demuxer is one of three, chosen by the content's first bytes, none
of them reads playlists, and it gets an open file, not a name.
"""

from liveness_core.video.limits import (
    NoVideoStreamError,
    VideoError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoUnreadableError,
)
from liveness_core.video.reader import VideoFrame, VideoKind, VideoReader, video_kind

__all__ = [
    "NoVideoStreamError",
    "VideoError",
    "VideoFrame",
    "VideoInterruptedError",
    "VideoKind",
    "VideoLimitError",
    "VideoLimits",
    "VideoReader",
    "VideoUnreadableError",
    "video_kind",
]
