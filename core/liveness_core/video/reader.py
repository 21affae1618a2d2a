"""The reader: how many frames a video has, and the frames at the positions asked for.

Only what those frames need is decoded: the packets from the keyframe before a wanted frame up to that frame.
"""

import gc
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from liveness_core.types import Picture
from liveness_core.video.container import Container
from liveness_core.video.limits import UNLIMITED, VideoLimitError, VideoLimits, VideoUnreadableError
from liveness_core.video.upright import Upright

# Decoders that can be told, packet by packet, to leave out frames that no other frame refers to.
_SKIPPING = {"h264", "hevc", "mpeg4", "vp8", "vp9"}
# Codecs without a filter for the edges of their blocks (deblocking or loop filter), as photos of the same quality.
_UNSMOOTHED = {"h263", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"}
_FOR_SMALL = (
    0.85  # share of what may be decoded that small frames may take; ten seconds of 4K fit into the default limit
)

_PASSED, _PASSED_PIXELS = 3, 4_000_000
"""Frames between two wanted ones that are kept at most, and how many pixels they may have: one of 4K has 12 MB."""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One decoded frame."""

    position: int
    """Number of the frame in the video, from 0."""
    time_s: float
    """When it is shown, in seconds after the first frame."""
    pixels: Picture
    """Upright RGB, shape (H, W, 3), the longer side at most `upright.MAX_SIDE_PX`."""
    width: int
    """Width of the upright frame with square pixels, before it was reduced."""
    height: int
    """Height of it."""

    @property
    def scale(self) -> float:
        """Size of the upright frame over the size of `pixels`; 1 or more."""
        return self.width / float(self.pixels.shape[1])


@dataclass(slots=True)
class _Stretch:
    """Packets from number `start` to number `end`, both included, that are decoded in one go."""

    start: int
    end: int


class VideoReader:
    """A video whose frames are counted and can be read by their positions.

    Args:
        file: the open file; it is read from, sought in, and not closed.
        limits: which videos are read at all; by default every video.
        turn_deg: how far the stored frames have to be turned clockwise to be upright: 0, 90, 180 or 270. It is meant
            for files that do not say so themselves; where the container carries a rotation, only that one is applied.
        interrupted: asked at every packet; True ends the work.

    Raises:
        VideoUnreadableError: the file is no video of the kinds that are read, or holds no frame.
        VideoLimitError: the video is beyond a limit.
        VideoInterruptedError: the work was interrupted.
    """

    def __init__(
        self,
        file: BinaryIO,
        limits: VideoLimits | None = None,
        *,
        turn_deg: int = 0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._limits = limits or VideoLimits()
        self._file = Container(file, self._limits, interrupted)
        with self._file.opened() as (container, stream):
            self._packets = self._file.index(container, stream)
            unit = float(stream.time_base or 0)
            rate = float(stream.average_rate or 0)
            self.frame_pixels = stream.codec_context.width * stream.codec_context.height
            """Pixels of a stored frame, by the header."""
            self.smooths_blocks = stream.codec_context.name not in _UNSMOOTHED
            """Whether the codec smooths the edges of its blocks: H.264, HEVC, VP8, VP9 and AV1 do, Motion JPEG and
            MPEG-4 Part 2 do not."""
            self._upright = Upright(stream, turn_deg)
        times = sorted(packet.time for packet in self._packets if packet.is_shown and packet.time is not None)
        self._left = self._limits.max_decoded_pixels
        self._goals: list[int] = []
        self._passed: list[tuple[int, av.VideoFrame]] = []
        self.frames = sum(packet.is_shown for packet in self._packets)
        """Number of frames; 1 or more."""
        if not self.frames:
            raise VideoUnreadableError("it holds no frame that is whole")
        # AVI stores no times: FFmpeg makes them up in the order of decoding, which need not be that of showing.
        self._is_timed = self._file.kind != "avi" and len(set(times)) == self.frames
        if self._is_timed:
            self._times = [(time - times[0]) * unit for time in times]
            self._position = {time: position for position, time in enumerate(times)}
        else:
            self._times = [position / rate if rate else 0.0 for position in range(self.frames)]
            self._position = {}
        self.duration_s = self._times[-1] * self.frames / (self.frames - 1) if self.frames > 1 else 0.0
        """Length in seconds. The last frame counts as long as the others do on average."""
        if self.duration_s > self._limits.max_seconds:
            raise VideoLimitError("seconds", self._limits.max_seconds)

    def time_s(self, position: int) -> float:
        """When a frame is shown, in seconds after the first one; by the mean rate where the video has no times."""
        return self._times[position]

    @property
    def fps(self) -> float:
        """Mean number of frames per second; 0 where no time is known."""
        return self.frames / self.duration_s if self.duration_s else 0.0

    def read(
        self, positions: Sequence[int], *, optional: bool = False, small: Collection[int] = ()
    ) -> Iterator[VideoFrame]:
        """The frames at these positions, each once and in the order of time, without those that cannot be decoded.

        Args:
            positions: numbers of the frames.
            optional: read as many of them, from the first one on, as may still be decoded.
            small: numbers of further frames, of which small copies are enough (`upright.SMALL_SIDE_PX`). They are left
                out, all of them, where decoding them would take nearly all that may still be decoded.

        Raises:
            VideoLimitError: more pixels would have to be decoded than are left of `max_decoded_pixels`; a frame is
                larger than its header said, and larger than allowed; or it has taken too much processor time.
            VideoInterruptedError: the work was interrupted.
            VideoUnreadableError: the file can no longer be read.
        """
        if optional:
            positions = self._affordable(positions)
        wanted = {*positions}
        self._check_left(self._work(wanted))
        reduced = {*small} - wanted
        if self._work(wanted | reduced) <= _FOR_SMALL * self._left:
            wanted |= reduced
            self._goals = sorted(wanted) if reduced else []
        found = self._read_timed(wanted) if self._is_timed else self._read_in_turn(wanted)
        for position, frame in self._within_budget(found) if optional else found:
            try:
                picture, width, height = self._upright.picture(frame, small=position in reduced)
            except (av.FFmpegError, ValueError):  # a damaged frame may have a format that nothing converts
                continue
            finally:
                del frame
            yield VideoFrame(position, self._times[position], picture, width, height)
            self._passed.clear()
        self._goals = []
        self._passed.clear()
        gc.collect(0)  # see `upright._orientation_of`

    def passed(self) -> list[VideoFrame]:
        """Small copies of frames between the one that `read` has given last and the one before it, in order.

        They are a few of those that had to be decoded on the way, nearest to the middle. There are none where `read`
        was not asked for small frames.
        """
        copies = []
        for position, frame in sorted(self._passed, key=lambda passed: passed[0]):
            with suppress(av.FFmpegError, ValueError):  # as in `read`
                copies.append(VideoFrame(position, self._times[position], *self._upright.picture(frame, small=True)))
        return copies

    def _pass(self, position: int, frame: av.VideoFrame) -> None:
        """Keep a frame that nobody wants for `passed`, in place of the one farthest from the middle."""
        after = bisect_right(self._goals, position)
        if not 0 < after < len(self._goals):
            return
        doubled = self._goals[after - 1] + self._goals[after]
        self._passed.append((position, frame))
        self._passed.sort(key=lambda passed: abs(2 * passed[0] - doubled))
        del self._passed[max(min(_PASSED, _PASSED_PIXELS // self.frame_pixels), 1) :]

    def _within_budget(self, found: Iterator[tuple[int, av.VideoFrame]]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames up to where decoding turns out to be too much, as where the stream's frames are larger."""
        try:
            yield from found
        except VideoLimitError as error:
            if error.limit != "pixels to decode":
                raise

    def _affordable(self, positions: Sequence[int]) -> Sequence[int]:
        """The positions in front of the first one that would be too much."""
        fits = next((n for n in range(len(positions), 0, -1) if self._work({*positions[:n]}) <= self._left), 0)
        return positions[:fits]

    def _work(self, wanted: set[int]) -> int:
        """How many pixels have to be decoded for the frames at these positions, those of frames before them too."""
        if self._is_timed:
            packets = sum(stretch.end - stretch.start + 1 for stretch in self._stretches(wanted))
        else:
            packets = min(max(wanted, default=-1) + 1, len(self._packets))
        return packets * self.frame_pixels

    def _check_left(self, pixels: float) -> None:
        """Refuse to decode more pixels than are left."""
        if pixels > self._left:
            raise VideoLimitError("pixels to decode", self._limits.max_decoded_pixels)

    def _read_timed(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode only the stretches of packets that lead to wanted frames, which are known by their times."""
        with self._file.opened() as (container, stream):
            codec = stream.codec_context
            skips = codec.name in _SKIPPING
            packets = enumerate(self._file.packets(container, stream))
            for stretch in self._stretches(wanted):
                for number, packet in packets:
                    if number < stretch.start:
                        continue
                    if skips:
                        is_wanted = packet.pts is not None and self._position.get(packet.pts) in wanted
                        codec.skip_frame = "DEFAULT" if is_wanted else "NONREF"
                    yield from self._wanted_of(self._decoded(codec, packet), wanted)
                    if number == stretch.end:
                        break
                yield from self._wanted_of(self._decoded(codec, None), wanted)
                codec.flush_buffers()

    def _wanted_of(self, frames: Iterator[av.VideoFrame], wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Those of the decoded frames that are wanted; they are taken off the list of wanted ones."""
        for frame in frames:
            position = self._position.get(frame.pts) if frame.pts is not None else None
            if position is None or frame.is_corrupt:
                continue
            if position in wanted:
                wanted.discard(position)
                yield position, frame
            elif self._goals:
                self._pass(position, frame)

    def _read_in_turn(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode and count all frames up to the last wanted one: without times there is no other way."""
        with self._file.opened() as (container, stream):
            last = max(wanted, default=-1)
            packets = chain(self._file.packets(container, stream), [None])
            frames = (frame for packet in packets for frame in self._decoded(stream.codec_context, packet))
            for position, frame in enumerate(frames):
                if position in wanted and not frame.is_corrupt:
                    yield position, frame
                if position >= last:
                    return

    def _stretches(self, wanted: set[int]) -> list[_Stretch]:
        """The packets from a keyframe up to each wanted frame, in order; overlapping stretches become one."""
        number_of = {packet.time: number for number, packet in enumerate(self._packets) if packet.is_shown}
        keyframes = [number for number, packet in enumerate(self._packets) if packet.is_keyframe]
        stretches: list[_Stretch] = []
        for time, position in self._position.items():
            if position not in wanted:
                continue
            end = number_of[time]
            # A frame that is stored after a keyframe but shown before it refers to frames before the keyframe.
            earlier = reversed(keyframes[: bisect_right(keyframes, end)])
            start = next((number for number in earlier if self._is_shown_by(number, time)), 0)
            if stretches and start <= stretches[-1].end:
                stretches[-1].end = max(stretches[-1].end, end)
            else:
                stretches.append(_Stretch(start, end))
        return stretches

    def _is_shown_by(self, number: int, time: int) -> bool:
        """Whether the frame of a packet is shown at this time or before."""
        shown_at = self._packets[number].time
        return shown_at is not None and shown_at <= time

    def _decoded(self, codec: VideoCodecContext, packet: "av.Packet[VideoStream] | None") -> Iterator[av.VideoFrame]:
        """The frames that the decoder gives for a packet; None asks for the frames that it still holds."""
        if packet is not None:
            # What was counted in advance is taken off here: the size in the stream may be another than the header's.
            self._check_left(pixels := codec.width * codec.height)
            self._left -= pixels
        try:
            frames = codec.decode(packet)
        except (av.InvalidDataError, av.EOFError):  # a damaged packet; the next ones may be whole
            return
        except av.ArgumentError:
            # Decoders refuse a picture of more than `max_pixels` this way; its size may have been in no header.
            if self._limits.max_pixels < UNLIMITED:
                raise VideoLimitError("pixels", self._limits.max_pixels) from None
            raise
        for frame in frames:
            if frame.width * frame.height > self._limits.max_pixels:
                raise VideoLimitError("pixels", self._limits.max_pixels)
            yield frame
