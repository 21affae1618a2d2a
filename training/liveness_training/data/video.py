"""Frames out of a video file: upright, RGB, at the positions asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from liveness_core.types import Picture
from liveness_training.data.samples import DataError

# By FFmpeg's names. A playlist, which could lead to other files, is none of them; nor is a picture.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"

Positions = Callable[[int], Sequence[int]]
"""The number of a video's frames, 1 or more, to the positions that are wanted, each in [0, number)."""


class UnreadableError(DataError):
    """A picture or video is there but cannot be decoded; the message names the file."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video."""

    position: int
    """Its number in the video, from 0."""
    pixels: Picture
    """Upright RGB, shape (H, W, 3)."""


def read_frames(path: Path, positions_of: Positions, turn_deg: int = 0) -> list[Frame]:
    """The frames at some positions of a video.

    Frames are counted by what decodes: containers state no number, or a wrong one, and a copy may have lost its end. A
    damaged part in between counts as if it were not there.

    Args:
        path: the file; .mov, .mp4, .3gp, .avi, .mkv or .webm.
        positions_of: which frames are wanted, once their number is known.
        turn_deg: by how much the stored frames are to be turned clockwise to be upright: 0, 90, 180 or 270. It is for
            files that do not say so themselves; where the container carries a rotation, that one is applied alone.

    Returns:
        A frame for each position, in the same order.

    Raises:
        DataError: there is no such file, or it must not be read.
        UnreadableError: it is not such a video, or no frame of it can be decoded.
    """
    # Packets are frames, but for damage and codecs that hide some: nearly always right, and then one pass will do.
    total = _packets(path)
    decoded, frames = _decode(path, positions_of(total), turn_deg) if total else (0, {})
    if not decoded:
        raise UnreadableError(f"{path}: no frame of this video can be decoded")
    if decoded != total:
        again, frames = _decode(path, positions_of(decoded), turn_deg)
        if again != decoded:
            raise UnreadableError(f"{path}: decoded twice, it had {decoded} frames and then {again}")
    return [Frame(position, frames[position]) for position in positions_of(decoded)]


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    # An open file, not a name: FFmpeg reads names like `concat:…` as something else than a file.
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        with file, av.open(file, "r", options={"format_whitelist": _CONTAINERS}) as container:
            if not container.streams.video:
                raise UnreadableError(f"{path} has no video stream")
            # Workers share the work; threads of each would only take turns.
            container.streams.video[0].codec_context.thread_count = 1
            yield container
    except (av.FFmpegError, OSError) as error:
        raise UnreadableError(f"{path} cannot be read as a video: {error.strerror}") from error


def _packets(path: Path) -> int:
    with _opened(path) as container:
        return sum(1 for _ in _whole(container))


def _whole(container: InputContainer) -> Iterator["av.Packet[VideoStream]"]:
    """The packets up to where the file breaks off, which may be in the middle of one."""
    try:
        for packet in container.demux(video=0):
            if packet.size and not packet.is_corrupt:
                yield packet
    except (av.InvalidDataError, av.EOFError):
        return


def _decode(path: Path, positions: Sequence[int], turn_deg: int) -> tuple[int, dict[int, Picture]]:
    """The number of frames that decode, and those that are wanted."""
    wanted = {*positions}
    frames: dict[int, Picture] = {}
    count = 0
    with _opened(path) as container:
        for frame in _decodable(container):
            if count in wanted:
                frames[count] = _upright(frame, turn_deg)
            count += 1
    return count, frames


def _decodable(container: InputContainer) -> Iterator[av.VideoFrame]:
    codec = container.streams.video[0].codec_context
    for packet in chain(_whole(container), [None]):  # None asks for the frames that the decoder still holds
        try:
            yield from codec.decode(packet)
        except (av.InvalidDataError, av.EOFError):  # a damaged packet; the next ones may be whole
            continue


def _upright(frame: av.VideoFrame, turn_deg: int) -> Picture:
    picture = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return np.ascontiguousarray(np.rot90(picture, -turn_deg // 90))
    # Where a pixel (x, y) goes: x' = a x + c y, y' = b x + d y, in the rows a b u, c d v, x y w (QuickTime's matrix).
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(matrix), np.int32))
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
