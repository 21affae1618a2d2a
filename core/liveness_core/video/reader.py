"""The reader: which frames there are, and what has to be decoded for those that are wanted."""

import gc
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from liveness_core.types import Picture
from liveness_core.video.limits import (
    UNLIMITED,
    NoVideoStreamError,
    VideoInterruptedError,
    VideoLimitError,
    VideoLimits,
    VideoUnreadableError,
)
from liveness_core.video.upright import Upright

VideoKind = Literal["mov", "matroska", "avi"]
"""FFmpeg's name of the demuxer: of MP4, MOV and 3GP; of Matroska and WebM; of AVI."""

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # with which QuickTime files begin
# Decoders that can be told, packet by packet, to leave out frames that no other one refers to.
_SKIPPING = {"h264", "hevc", "mpeg4", "vp8", "vp9"}


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One decoded frame."""

    position: int
    """Its number in the video, from 0."""
    time_s: float
    """When it is shown, after the first frame."""
    pixels: Picture
    """Upright RGB, shape (H, W, 3), its longer side at most `upright.MAX_SIDE_PX`."""
    width: int
    """Of the upright frame with square pixels, before it was reduced."""
    height: int

    @property
    def scale(self) -> float:
        """Size of the upright frame over that of `pixels`; 1 or more."""
        return self.width / float(self.pixels.shape[1])


def video_kind(start: bytes) -> VideoKind | None:
    """The kind of video by its first 12 bytes; None where it is none that is read."""
    if start[4:8] in _ATOMS:
        return "mov"
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    return None


@dataclass(frozen=True, slots=True)
class _Packet:
    """What is remembered of a packet: not its content."""

    time: int | None
    """Of its frame, in the stream's unit; None where there is none."""
    is_keyframe: bool
    is_shown: bool
    """False for what an edit list cuts away: it is decoded for the frames after it."""


@dataclass(slots=True)
class _Stretch:
    """Packets from `start` to `end`, both included, that are decoded for the sake of some frames."""

    start: int
    end: int


class VideoReader:
    """A video whose frames are counted and can be asked for.

    Args:
        file: the open file; it is read from, sought in, and not closed.
        limits: what is read at all.
        turn_deg: by how much the stored frames are to be turned clockwise to be upright: 0, 90, 180 or 270. It is for
            files that do not say so themselves; where the container carries a rotation, that one is applied alone.
        interrupted: asked at every packet; True ends the work.

    Raises:
        VideoUnreadableError: it is no such video, or holds no frame.
        VideoLimitError: it is beyond a limit.
        VideoInterruptedError: it was interrupted.
    """

    def __init__(
        self,
        file: BinaryIO,
        limits: VideoLimits | None = None,
        *,
        turn_deg: int = 0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._file = file
        self._limits = limits or VideoLimits()
        self._interrupted = interrupted
        file.seek(0)
        kind = video_kind(file.read(16))
        if kind is None:
            raise VideoUnreadableError("it is none of MP4, MOV, 3GP, WebM, Matroska and AVI")
        self._kind: VideoKind = kind
        with self._opened() as (container, stream):
            self._packets = self._index(container, stream)
            unit = float(stream.time_base or 0)
            rate = float(stream.average_rate or 0)
            self._upright = Upright(stream, turn_deg)
        times = sorted(packet.time for packet in self._packets if packet.is_shown and packet.time is not None)
        self.frames = sum(packet.is_shown for packet in self._packets)
        """How many frames it has; 1 or more."""
        if not self.frames:
            raise VideoUnreadableError("it holds no frame that is whole")
        # AVI has no times of its own: those that are made up for it are in the order of decoding.
        self._is_timed = kind != "avi" and len(set(times)) == self.frames
        if self._is_timed:
            self._times = [(time - times[0]) * unit for time in times]
            self._position = {time: place for place, time in enumerate(times)}
        else:
            self._times = [place / rate if rate else 0.0 for place in range(self.frames)]
            self._position = {}
        self.duration_s = self._times[-1] * self.frames / (self.frames - 1) if self.frames > 1 else 0.0
        """How long it is shown: from the first frame on until a frame's mean time after the last."""
        if self.duration_s > self._limits.max_seconds:
            raise VideoLimitError("seconds", self._limits.max_seconds)

    def time_s(self, position: int) -> float:
        """When a frame is shown, after the first one; counted from the mean rate where the video has no times."""
        return self._times[position]

    @property
    def fps(self) -> float:
        """Mean number of frames a second; 0 where no time is known."""
        return self.frames / self.duration_s if self.duration_s else 0.0

    def read(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames at some positions, each once, in the order of time; one that cannot be decoded is left out.

        Raises:
            VideoLimitError: a frame is larger than its header said and than is allowed.
            VideoInterruptedError: it was interrupted.
            VideoUnreadableError: it cannot be read any more.
        """
        wanted = {*positions}
        found = self._read_timed(wanted) if self._is_timed else self._read_in_turn(wanted)
        for position, frame in found:
            try:
                picture, width, height = self._upright.picture(frame)
            except (av.FFmpegError, ValueError):  # a damaged frame may have a format that nothing converts
                continue
            finally:
                del frame
            yield VideoFrame(position, self._times[position], picture, width, height)
        gc.collect(0)  # see `upright._orientation_of`

    def _read_timed(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        with self._opened() as (container, stream):
            codec = stream.codec_context
            skips = codec.name in _SKIPPING
            packets = enumerate(self._whole(container, stream))
            for stretch in self._stretches(wanted):
                for place, packet in packets:
                    if place < stretch.start:
                        continue
                    if skips:
                        is_wanted = packet.pts is not None and self._position.get(packet.pts) in wanted
                        codec.skip_frame = "DEFAULT" if is_wanted else "NONREF"
                    yield from self._wanted_of(self._decoded(codec, packet), wanted)
                    if place == stretch.end:
                        break
                yield from self._wanted_of(self._decoded(codec, None), wanted)
                codec.flush_buffers()

    def _wanted_of(self, frames: Iterator[av.VideoFrame], wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        for frame in frames:
            position = self._position.get(frame.pts) if frame.pts is not None else None
            if position in wanted and not frame.is_corrupt:
                wanted.discard(position)
                yield position, frame

    def _read_in_turn(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Without times all frames are decoded, up to the last that is wanted, and counted."""
        with self._opened() as (container, stream):
            last = max(wanted, default=-1)
            for position, frame in enumerate(self._all(container, stream)):
                if position in wanted and not frame.is_corrupt:
                    yield position, frame
                if position >= last:
                    return

    def _all(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        for packet in self._whole(container, stream):
            yield from self._decoded(stream.codec_context, packet)
        yield from self._decoded(stream.codec_context, None)

    def _stretches(self, wanted: set[int]) -> list[_Stretch]:
        """From a keyframe to a wanted frame each, in order; those that overlap are one."""
        place_of = {packet.time: place for place, packet in enumerate(self._packets) if packet.is_shown}
        keyframes = [place for place, packet in enumerate(self._packets) if packet.is_keyframe]
        stretches: list[_Stretch] = []
        for time, position in self._position.items():
            if position not in wanted:
                continue
            end = place_of[time]
            # Frames that are shown before the keyframe and stored after it refer to what is before it.
            earlier = reversed(keyframes[: bisect_right(keyframes, end)])
            start = next((place for place in earlier if self._is_before(place, time)), 0)
            if stretches and start <= stretches[-1].end:
                stretches[-1].end = max(stretches[-1].end, end)
            else:
                stretches.append(_Stretch(start, end))
        return stretches

    def _is_before(self, place: int, time: int) -> bool:
        of_packet = self._packets[place].time
        return of_packet is not None and of_packet <= time

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        self._file.seek(0)
        # For the decoders too that look for what the container does not say: those run while it is opened.
        options = {"max_pixels": str(self._limits.max_pixels)}
        reading = {"format_whitelist": self._kind_names(), "protocol_whitelist": ""}
        try:
            with av.open(
                self._file, "r", format=self._kind, options=reading | options, metadata_errors="replace"
            ) as container:
                if len(container.streams) > self._limits.max_streams:
                    raise VideoLimitError("streams", self._limits.max_streams)
                stream = container.streams.best("video")
                if not isinstance(stream, VideoStream):
                    raise NoVideoStreamError("it has no video stream")
                if stream.codec_context is None:
                    raise VideoUnreadableError("its codec is not known")
                self._check_size(stream.codec_context)
                stream.codec_context.options = options
                # Requests and workers run side by side; threads of each would only take turns.
                stream.codec_context.thread_count = 1
                yield container, stream
        except (av.FFmpegError, OSError) as error:
            raise VideoUnreadableError(f"it is truncated or damaged ({error.strerror})") from error

    def _kind_names(self) -> str:
        names = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm", "avi": "avi"}
        return names[self._kind]

    def _check_size(self, codec: VideoCodecContext) -> None:
        if codec.width * codec.height > self._limits.max_pixels:
            raise VideoLimitError("pixels", self._limits.max_pixels)

    def _index(self, container: InputContainer, stream: VideoStream) -> list[_Packet]:
        packets = []
        unit = float(stream.time_base or 0)
        earliest, latest = float("inf"), float("-inf")
        for packet in self._whole(container, stream):
            packets.append(_Packet(packet.pts, packet.is_keyframe, not packet.is_discard))
            if len(packets) > self._limits.max_frames:
                raise VideoLimitError("frames", self._limits.max_frames)
            if packet.pts is not None and not packet.is_discard:
                earliest, latest = min(earliest, packet.pts), max(latest, packet.pts)
                if (latest - earliest) * unit > self._limits.max_seconds:
                    raise VideoLimitError("seconds", self._limits.max_seconds)
        return packets

    def _whole(self, container: InputContainer, stream: VideoStream) -> Iterator["av.Packet[VideoStream]"]:
        """The packets up to where the file breaks off, which may be in the middle of one."""
        try:
            for packet in container.demux(stream):
                if self._interrupted():
                    raise VideoInterruptedError("it was interrupted")
                if packet.size and not packet.is_corrupt:
                    yield packet
        except (av.InvalidDataError, av.EOFError):
            return

    def _decoded(self, codec: VideoCodecContext, packet: "av.Packet[VideoStream] | None") -> Iterator[av.VideoFrame]:
        """The frames that come out when a packet goes in; None asks for those that the decoder still holds."""
        try:
            frames = codec.decode(packet)
        except (av.InvalidDataError, av.EOFError):  # a damaged packet; the next ones may be whole
            return
        except av.ArgumentError:
            # How decoders refuse a picture of more than `max_pixels`; its size may have been in no header.
            if self._limits.max_pixels < UNLIMITED:
                raise VideoLimitError("pixels", self._limits.max_pixels) from None
            raise
        for frame in frames:
            if frame.width * frame.height > self._limits.max_pixels:
                raise VideoLimitError("pixels", self._limits.max_pixels)
            yield frame
