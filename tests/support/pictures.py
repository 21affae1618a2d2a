"""Real pictures for tests: the public-domain astronaut photo of scikit-image, and what can be made of it."""

import io
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


def two_faces() -> NDArray[np.uint8]:
    """The same face twice, side by side."""
    return np.concatenate([astronaut(), astronaut()], axis=1)


@cache
def no_face() -> NDArray[np.uint8]:
    """A picture without a person: scikit-image's cup of coffee."""
    picture: NDArray[np.uint8] = np.array(data.coffee(), np.uint8)
    picture.flags.writeable = False
    return picture


def encoded(picture: NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as the content of a file of this kind (Pillow's name)."""
    if picture is astronaut() and all(isinstance(value, (int, str)) for value in options.values()):
        return _encoded_astronaut(kind, **options)
    return _encoded(picture, kind, **options)


@cache
def _encoded_astronaut(kind: str, **options: Any) -> bytes:
    """Half of all files are these; a PNG takes a tenth of a second."""
    return _encoded(astronaut(), kind, **options)


def _encoded(picture: NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()
