"""The file around the frames: opened within the limits, and read packet by packet."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from liveness_core.video.kinds import DEMUXER_NAMES, VideoKind, video_kind
from liveness_core.video.limits import (
    UNLIMITED,
    NoVideoStreamError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoUnreadableError,
)
from liveness_core.video.matroska import check_elements
from liveness_core.video.mp4 import check_boxes

_CHECKS: dict[VideoKind, Callable[[bytes, VideoLimits], None]] = {"mov": check_boxes, "matroska": check_elements}


@dataclass(frozen=True, slots=True)
class PacketInfo:
    """What is remembered of a packet, which is everything but its content."""

    time: int | None
    """When its frame is shown, in the stream's time unit; None where the file does not say."""
    is_keyframe: bool
    is_shown: bool
    """False for a frame that an edit list cuts away: it is only decoded for the frames after it."""


class Container:
    """An open file that holds a video.

    Args:
        file: it is read from, sought in, and not closed.
        limits: which videos are read at all.
        interrupted: asked at every packet; True ends the work.

    Raises:
        VideoUnreadableError: the content is none of the kinds of video that are read.
        VideoLimitError: the index that the file describes would be too large.
    """

    def __init__(self, file: BinaryIO, limits: VideoLimits, interrupted: Callable[[], bool]) -> None:
        self._file = file
        self._limits = limits
        self._interrupted = interrupted
        self._started_s = time.thread_time()
        file.seek(0)
        kind = video_kind(file.read(16))
        if kind is None:
            raise VideoUnreadableError("it is none of MP4, MOV, 3GP, WebM, Matroska and AVI")
        self.kind = kind
        # Without limits, as in training, the file is trusted and may be large.
        check = _CHECKS.get(kind)
        if check is not None and limits.max_samples < UNLIMITED:
            file.seek(0)
            check(file.read(), limits)

    @contextmanager
    def opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Open the file from its start, with its best video stream.

        Raises:
            VideoUnreadableError: it is damaged, has no video stream or an unknown codec.
            VideoLimitError: it has too many streams, or its frames too many pixels.
        """
        self._file.seek(0)
        # The limit on pixels goes to the demuxer as well: while the file is opened, FFmpeg runs decoders to find out
        # what the container does not say.
        options = {"max_pixels": str(self._limits.max_pixels)}
        whitelists = {"format_whitelist": DEMUXER_NAMES[self.kind], "protocol_whitelist": ""}
        try:
            with av.open(
                self._file, "r", format=self.kind, options=whitelists | options, metadata_errors="replace"
            ) as container:
                # Motion and location data, of which a phone writes up to eight tracks, cost no more than their entries
                # in the index, and those are counted by `max_samples`.
                shown = [stream for stream in container.streams if stream.type not in ("data", "attachment")]
                if len(shown) > self._limits.max_streams:
                    raise VideoLimitError("streams", self._limits.max_streams)
                stream = container.streams.best("video")
                if not isinstance(stream, VideoStream):
                    raise NoVideoStreamError("it has no video stream")
                codec = stream.codec_context
                if codec is None:
                    raise VideoUnreadableError("its codec is not known")
                if codec.width * codec.height > self._limits.max_pixels:
                    raise VideoLimitError("pixels", self._limits.max_pixels)
                codec.options = options
                # Requests and workers run side by side; decoders with several threads each would only take turns.
                codec.thread_count = 1
                yield container, stream
        except (av.FFmpegError, OSError) as error:
            raise VideoUnreadableError(f"it is truncated or damaged ({error.strerror})") from error

    def index(self, container: InputContainer, stream: VideoStream) -> list[PacketInfo]:
        """Read through the whole file once, without decoding.

        Raises:
            VideoLimitError: it has too many frames, or they span too many seconds.
        """
        packets = []
        unit = float(stream.time_base or 0)
        earliest, latest = float("inf"), float("-inf")
        for packet in self.packets(container, stream):
            packets.append(PacketInfo(packet.pts, packet.is_keyframe, not packet.is_discard))
            if len(packets) > self._limits.max_frames:
                raise VideoLimitError("frames", self._limits.max_frames)
            if packet.pts is not None and not packet.is_discard:
                earliest, latest = min(earliest, packet.pts), max(latest, packet.pts)
                if (latest - earliest) * unit > self._limits.max_seconds:
                    raise VideoLimitError("seconds", self._limits.max_seconds)
        return packets

    def packets(self, container: InputContainer, stream: VideoStream) -> Iterator["av.Packet[VideoStream]"]:
        """The undamaged packets, up to where the file breaks off, which may be in the middle of one.

        Raises:
            VideoInterruptedError: the work was interrupted.
            VideoLimitError: the work has taken too much processor time.
        """
        try:
            for packet in container.demux(stream):
                if self._interrupted():
                    raise VideoInterruptedError("it was interrupted")
                if time.thread_time() - self._started_s > self._limits.max_cpu_s:
                    raise VideoLimitError("seconds of processor time", self._limits.max_cpu_s)
                if packet.size and not packet.is_corrupt:
                    yield packet
        except (av.InvalidDataError, av.EOFError):
            return
