"""Real clips of a person: the astronaut photo, moving as in a camera held by hand."""

import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from support.pictures import astronaut, no_face

WIDTH, HEIGHT, FPS = 320, 240, 30

Scene = Callable[[int], NDArray[Any]]
"""Number of the frame -> RGB picture, (HEIGHT, WIDTH, 3)."""


def person(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """The astronaut's head and shoulders, swaying, with the noise of a sensor."""
    sway = np.sin(number / 15) * 0.03 * width
    zoom = 1.6 * height / 512
    matrix = np.array([[zoom, 0, width / 2 - 224 * zoom + sway], [0, zoom, height * 0.5 - 115 * zoom]])
    picture = cv2.warpAffine(
        astronaut(), matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
    )
    noise = np.random.default_rng(number).integers(-4, 5, picture.shape, dtype=np.int16)
    return np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def nobody(number: int) -> NDArray[np.uint8]:
    """A cup of coffee."""
    return cv2.resize(np.roll(no_face(), number, axis=1), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def somebody_else(number: int) -> NDArray[np.uint8]:
    """Another face in the same place: the astronaut mirrored, lit from the other side and of another complexion."""
    picture = person(number)[:, ::-1].astype(np.float32)
    light = np.linspace(1.5, 0.6, WIDTH, dtype=np.float32)[None, :, None]
    return np.clip(picture * light * np.array([0.8, 0.95, 1.15], np.float32), 0, 255).astype(np.uint8)


def clip(
    scene: Scene = person,
    seconds: float = 2.0,
    kind: str = "mp4",
    codec: str = "libx264",
    *,
    fps: int = FPS,
    pixels: str = "yuv420p",
    rotation_deg: int = 0,
    sound: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: Callable[[int], int] | None = None,
) -> bytes:
    """A clip as the content of a file.

    Args:
        scene: what is to be seen.
        seconds: how long.
        kind: FFmpeg's name of the container: mp4, mov, webm, matroska, 3gp, avi.
        codec: FFmpeg's name of the encoder.
        fps: frames a second.
        pixels: FFmpeg's name of the pixel format.
        rotation_deg: by how much a player has to turn the stored frames clockwise; mp4 and mov can hold it.
        sound: also a tone.
        options: the encoder's.
        container_options: the container's.
        times: number of the frame -> when it is shown, in 1 / fps; by default one after the other.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        first = scene(0)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixels
        if rotation_deg:
            stream.set_display_rotation(-rotation_deg)  # PyAV counts counter-clockwise
        tone = (
            container.add_stream("aac" if kind in ("mp4", "mov", "3gp") else "libopus", rate=48_000) if sound else None
        )
        for number in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(number)), format="rgb24")
            frame.pts = number if times is None else times(number)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None:
            for packet in _tone(tone, seconds):
                container.mux(packet)
    return file.getvalue()


def _tone(stream: Any, seconds: float) -> Iterator[Any]:
    size = 960
    for start in range(0, round(seconds * 48_000), size):
        wave = np.sin(2 * np.pi * 440 * (start + np.arange(size)) / 48_000)[None].astype(np.float32) * 0.1
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, start
        yield from stream.encode(frame)
    yield from stream.encode()


def sound_alone() -> bytes:
    """A file with a tone and no pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        for packet in _tone(container.add_stream("aac", rate=48_000), 1.0):
            container.mux(packet)
    return file.getvalue()


@cache
def person_clip() -> bytes:
    """Two seconds of the astronaut in MP4."""
    return clip()
