"""Clips that are at a limit, or beyond what their header admits."""

import io
import struct
from typing import Any

import av
import cv2
import numpy as np

from support.clips import clip, person
from support.videos import encode_video

_JPEG_SIZE = b"\xff\xc0"  # the marker before a JPEG's height and width


def repeated(content: bytes, times: int, kind: str = "mp4") -> bytes:
    """A clip over and over again, without encoding it again; it must begin with a keyframe."""
    file = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format=kind) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        first = min(packet.pts for packet in packets)
        last, previous = sorted(packet.pts for packet in packets)[-1:-3:-1]
        length = 2 * last - previous - first
        for turn in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = packet.pts + turn * length, packet.dts + turn * length
                again.time_base, again.is_keyframe, again.stream = stream.time_base, packet.is_keyframe, copy
                target.mux(again)
    return file.getvalue()


def padded(content: bytes, size: int) -> bytes:
    """An MP4 of this many bytes: the rest is a box that says to be skipped."""
    rest = size - len(content)
    return content + struct.pack(">I4s", rest, b"free") + bytes(rest - 8)


def four_k(seconds: int = 30, codec: str = "libx264", size: int | None = None, **options: Any) -> bytes:
    """The astronaut at 3840x2160 and 60 frames a second; `size` in bytes, as many as it comes to where None."""
    quick = {"preset": "ultrafast", "g": "30", "crf": "27"} | options.pop("options", {})
    # Drawn at a quarter of the size: to draw 60 pictures of 8 megapixels takes longer than all that is done with them.
    frames = (cv2.resize(person(n, 960, 540), (3840, 2160)) for n in range(60))
    one = encode_video(frames, "mp4", codec, fps=60, options=quick, **options)
    content = repeated(one, seconds) if seconds > 1 else one
    return content if size is None else padded(content, size)


def many_frames(count: int = 10_000) -> bytes:
    """An animation of so many small pictures in MP4."""
    second = clip(lambda n: person(n, 64, 48), seconds=1.0, fps=100)
    return repeated(second, count // 100)


def forged_duration(seconds: int) -> bytes:
    """Two seconds whose headers say another length."""
    content = bytearray(clip())
    for box, at in ((b"mvhd", 12), (b"mdhd", 12)):
        start = content.index(box) + 4
        scale = struct.unpack_from(">I", content, start + at)[0]
        struct.pack_into(">I", content, start + at + 4, min(seconds * scale, 2**32 - 1))
    return bytes(content)


def forged_header_size() -> bytes:
    """Two seconds of MPEG-4 in AVI whose headers say 100,000 x 100,000."""
    content = bytearray(clip(kind="avi", codec="mpeg4"))
    struct.pack_into("<ii", content, content.index(b"strf") + 12, 100_000, 100_000)
    struct.pack_into("<II", content, content.index(b"avih") + 40, 100_000, 100_000)
    return bytes(content)


def forged_picture_size() -> bytes:
    """Two seconds of Motion JPEG in which every picture says 65,000 x 65,000."""
    content = bytearray(clip(kind="matroska", codec="mjpeg"))
    place = content.find(_JPEG_SIZE)
    while place >= 0:
        struct.pack_into(">HH", content, place + 5, 65_000, 65_000)
        place = content.find(_JPEG_SIZE, place + 1)
    return bytes(content)


def really_large() -> bytes:
    """A frame of 8,192 x 8,192."""
    return encode_video([np.zeros((8192, 8192, 3), np.uint8)], "mp4", "libx264", options={"preset": "ultrafast"})
