"""Small real videos, encoded by PyAV as phones, browsers and the data sets' files are."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

_CODECS = {".avi": "mpeg4", ".mov": "h264", ".mp4": "h264", ".m4v": "h264", ".mkv": "h264", ".webm": "libvpx"}
_KINDS = {".m4v": "mp4", ".mkv": "matroska"}
_SOUND_RATE = 48_000


def encode_video(
    frames: Iterable[NDArray[Any]],
    kind: str = "mp4",
    codec: str = "h264",
    *,
    fps: int = 25,
    pixels: str | None = None,
    rotation_deg: int = 0,
    sound: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: Callable[[int], int] | None = None,
) -> bytes:
    """The content of a video file.

    Args:
        frames: RGB pictures of one size, (H, W, 3) in uint8; (T, H, W, 3) will do.
        kind: FFmpeg's name of the container: mp4, mov, webm, matroska, 3gp, avi.
        codec: FFmpeg's name of the encoder.
        fps: frames a second.
        pixels: FFmpeg's name of the pixel format; 4:2:0 with 8 bits by default.
        rotation_deg: by how much a player has to turn the stored frames clockwise; mp4 and mov can hold it.
        sound: also a tone.
        options: the encoder's.
        container_options: the container's.
        times: number of the frame -> when it is shown, in 1 / fps; by default one after the other.
    """
    stream, shown = None, 0
    if codec == "libvpx":  # its threads wait for each other by spinning, seven times as long as one needs for all
        options = {"threads": "1"} | (options or {})
    if codec in ("h264", "libx264"):  # several threads, and what they look ahead, make another file now and then
        options = {"threads": "1", "mbtree": "0", "preset": "veryfast"} | (options or {})
    with (
        _ordinary_priority(),
        NamedTemporaryFile() as file,  # some containers are written twice over, which PyAV does by name only
        av.open(file.name, "w", format=kind, options=container_options or {}) as container,
    ):
        tone = None
        for number, picture in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
                if rotation_deg:
                    stream.set_display_rotation(-rotation_deg)  # PyAV counts counter-clockwise
                if sound:
                    tone = container.add_stream("libopus" if kind in ("webm", "matroska") else "aac", rate=_SOUND_RATE)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number if times is None else times(number)
            container.mux(stream.encode(frame))
            shown = frame.pts + 1
        if stream is not None:
            container.mux(stream.encode())
        for packet in _tone(tone, shown / fps) if tone is not None else ():
            container.mux(packet)
        container.close()
        return Path(file.name).read_bytes()


@contextmanager
def _ordinary_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does to the thread that opens it where that is root's: it makes it a real-time one.

    A real-time thread, and every process that it starts from then on, keeps all others from the cores.
    """
    if not hasattr(os, "sched_getscheduler"):  # not on macOS
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def encode_sound() -> bytes:
    """The content of an MP4 file with a tone and no pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        for packet in _tone(container.add_stream("aac", rate=_SOUND_RATE), 1.0):
            container.mux(packet)
    return file.getvalue()


def _tone(stream: Any, seconds: float) -> Iterator[Any]:
    size = 960
    for start in range(0, round(seconds * _SOUND_RATE), size):
        wave = 0.1 * np.sin(2 * np.pi * 440 * (start + np.arange(size)) / _SOUND_RATE)[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = _SOUND_RATE, start
        yield from stream.encode(frame)
    yield from stream.encode()


def write_video(
    path: Path, frames: Iterable[NDArray[Any]], fps: int = 25, rotation_deg: int = 0, codec: str | None = None
) -> Path:
    """Encode the frames into a file; the container and the codec follow from the suffix.

    Args:
        path: the file; its folder is made.
        frames: RGB pictures of one even size.
        fps: frames a second.
        rotation_deg: see `encode_video`.
        codec: another one than the suffix's, e.g. `mjpeg`.
    """
    suffix = path.suffix.lower()
    kind = _KINDS.get(suffix, suffix.removeprefix("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_video(frames, kind, codec or _CODECS[suffix], fps=fps, rotation_deg=rotation_deg))
    return path


def tiny_frames(count: int = 3, size: int = 32) -> NDArray[np.uint8]:
    """Pictures that get brighter, (count, size, size, 3)."""
    levels = np.linspace(40, 200, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, size, size, 3)).copy()


def plant(root: Path, names: Iterable[str]) -> Path:
    """Real videos of these names below a folder: one is encoded for each suffix, the others are links to it."""
    made: dict[str, Path] = {}
    for name in names:
        path = root / name
        if path.suffix in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(made[path.suffix], path)
        else:
            made[path.suffix] = write_video(path, tiny_frames())
    return root
