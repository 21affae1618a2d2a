"""Real clips of a person: the astronaut photo, moving as in a camera held by hand."""

from collections.abc import Callable
from functools import cache, lru_cache
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
    """The astronaut's head and shoulders, swaying, with the noise of a sensor.

    The head turns a little before what is behind it, and the mouth moves: else it would be a still that is panned.
    Nobody may write into it.
    """
    usual = (width, height) == (WIDTH, HEIGHT)
    return _usual_person(number) if usual else _drawn_person(number, width, height)


@lru_cache(maxsize=120)  # four seconds, 28 MB: most clips begin with the same frames
def _usual_person(number: int) -> NDArray[np.uint8]:
    picture = _drawn_person(number, WIDTH, HEIGHT)
    picture.flags.writeable = False
    return picture


def _drawn_person(number: int, width: int, height: int) -> NDArray[np.uint8]:
    picture = cv2.remap(
        astronaut(), *_places(number, width, height), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return _with_noise(picture.astype(np.uint8, copy=False), number)


def _with_noise(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(number).integers(-4, 5, picture.shape, dtype=np.int16)
    return np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=60)
def still(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """The same, but a photograph that is moved before the camera: nothing in it moves by itself.

    Nobody may write into it.
    """
    places = _places(0, width, height)
    sway = np.float32(np.sin(number / 15) * 10)
    picture = cv2.remap(astronaut(), places[0] + sway, places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    noisy = _with_noise(picture.astype(np.uint8, copy=False), number)
    noisy.flags.writeable = False
    return noisy


def holding_still(number: int) -> NDArray[np.uint8]:
    """The person with a mouth that rests and a head that sways by a third of a pixel before what is behind it."""
    x, y = _places(0, WIDTH, HEIGHT)
    head = np.exp(-((x - 224) ** 2 + (y - 110) ** 2) / (2 * 60**2))
    x = (x + 0.5 * np.sin(number / 12) * head).astype(np.float32)
    picture = cv2.remap(astronaut(), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return _with_noise(picture.astype(np.uint8, copy=False), number)


def _places(number: int, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Which place of the photo each pixel shows."""
    zoom = 1.6 * height / 512
    sway = np.sin(number / 15) * 0.03 * width
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x = (across - width / 2 - sway) / zoom + 224
    y = (down - height / 2) / zoom + 115
    head = np.exp(-((x - 224) ** 2 + (y - 110) ** 2) / (2 * 45**2))
    mouth = np.exp(-((x - 224) ** 2 + (y - 145) ** 2) / (2 * 12**2))
    x += 5 * np.sin(number / 6) * head
    y += 3 * np.cos(number / 9) * head + 4 * np.sin(number / 4) * mouth
    return x.astype(np.float32), y.astype(np.float32)


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


@cache
def cut_clip() -> bytes:
    """A second of the astronaut and a second of somebody else in MP4."""
    return clip(one_after_the_other(person, somebody_else, each=30))
