"""Real clips of a person: the astronaut photo, moving as in a camera held by hand."""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from support.pictures import astronaut, no_face
from support.videos import encode_video

WIDTH, HEIGHT, FPS = 320, 240, 30

Scene = Callable[[int], NDArray[Any]]
"""Number of the frame -> RGB picture."""


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
    picture = cv2.resize(np.roll(no_face(), number, axis=1), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return picture.astype(np.uint8, copy=False)


def somebody_else(number: int) -> NDArray[np.uint8]:
    """Another face in the same place: the astronaut mirrored, lit from the other side and of another complexion."""
    picture = person(number)[:, ::-1].astype(np.float32)
    light = np.linspace(1.5, 0.6, WIDTH, dtype=np.float32)[None, :, None]
    return np.clip(picture * light * np.array([0.8, 0.95, 1.15], np.float32), 0, 255).astype(np.uint8)


def two_people(number: int) -> NDArray[np.uint8]:
    """The astronaut twice, side by side."""
    half = person(number)[:, WIDTH // 4 : 3 * WIDTH // 4]
    return np.concatenate([half, half], axis=1)


def one_after_the_other(*scenes: Scene, each: int) -> Scene:
    """A cut between scenes every `each` frames."""
    return lambda number: scenes[min(number // each, len(scenes) - 1)](number)


def clip(
    scene: Scene = person, seconds: float = 2.0, kind: str = "mp4", codec: str = "libx264", **options: Any
) -> bytes:
    """A clip of a scene as the content of a file; the other options are those of `encode_video`."""
    fps = options.setdefault("fps", FPS)
    return encode_video((scene(number) for number in range(round(seconds * fps))), kind, codec, **options)


@cache
def person_clip() -> bytes:
    """Two seconds of the astronaut in MP4."""
    return clip()
