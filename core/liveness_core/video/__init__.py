"""Frames out of a video: upright, RGB, at the positions asked for, decoding no more than those need.

Training and the service share this reader, so that both see the same frames. A video is first read through without
decoding, to learn which frames it has: containers state no number of frames, or a wrong one, and a copy may have lost
its end. Then only the stretches from a keyframe to a wanted frame are decoded, leaving out frames in them that no other
frame refers to.

FFmpeg reads the given file and nothing else: the demuxer is one of three, chosen by the content's first bytes; none of
them reads playlists; and it gets an open file, not a name.
"""

from liveness_core.video.kinds import VideoKind, video_kind
from liveness_core.video.limits import (
    NoVideoStreamError,
    VideoError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoUnreadableError,
)
from liveness_core.video.reader import VideoFrame, VideoReader
from liveness_core.video.upright import reduced

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
    "reduced",
    "video_kind",
]
