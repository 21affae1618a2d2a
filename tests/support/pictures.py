"""Real pictures for tests: the public-domain astronaut photo of scikit-image, and what can be made of it."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Material that is not part of the project; tests that use it skip where it is absent."""


@cache
def astronaut() -> NDArray[np.uint8]:
    """512x512 RGB, one face."""
    picture: NDArray[np.uint8] = data.astronaut()
    picture.flags.writeable = False
    return picture


@cache
def two_faces() -> NDArray[np.uint8]:
    """The same face twice, side by side."""
    picture = np.concatenate([astronaut(), astronaut()], axis=1)
    picture.flags.writeable = False
    return picture


@cache
def head_and_shoulders() -> NDArray[np.uint8]:
    """The astronaut's, 256x256 RGB: a quarter of the pixels with all of the face, where many are sent."""
    picture = np.ascontiguousarray(astronaut()[:256, 96:352])
    picture.flags.writeable = False
    return picture


@cache
def no_face() -> NDArray[np.uint8]:
    """A picture without a person: scikit-image's cup of coffee."""
    picture: NDArray[np.uint8] = np.array(data.coffee(), np.uint8)
    picture.flags.writeable = False
    return picture


def encoded(picture: NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as the content of a file of this kind (Pillow's name)."""
    if all(isinstance(value, (int, str)) for value in options.values()):
        for make in (astronaut, head_and_shoulders, two_faces, no_face):
            if picture is make():
                return _encoded_once(make, kind, **options)
    return _encoded(picture, kind, **options)


@cache
def _encoded_once(make: Callable[[], NDArray[np.uint8]], kind: str, **options: Any) -> bytes:
    """Most files are these; a PNG takes a tenth of a second."""
    return _encoded(make(), kind, **options)


def _encoded(picture: NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind == "PNG":  # Pillow's usual level takes four times as long, for a smaller file
        options = {"compress_level": 1} | options
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def in_less_light(stops, seed=0):
    """The astronaut in so many stops less light, with a sensor's noise, brightened again."""
    stored = astronaut() / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4) * 3000 / 2**stops
    random = np.random.default_rng(seed)
    seen = np.clip((random.poisson(light) + random.normal(0, 3, light.shape)) * 2**stops / 3000, 0, 1)
    return np.round(255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)).astype(np.uint8)
