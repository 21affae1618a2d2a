"""Augmentation: changes as between cameras, which say nothing about liveness; the same for both labels.

No step adds pixels from outside the crop, and none depends on the label: the network would take a step that one label
sees more often as a shortcut.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import Picture
from liveness_training.data.simulation.camera import through_jpeg


def augment(crop: Picture, random: np.random.Generator, grey_share: float = 0.1) -> Picture:
    """A randomly changed copy of a crop, same shape.

    Args:
        crop: shape (S, S, 3).
        random: generator that every choice is drawn from.
        grey_share: share of the copies that lose their colours, 0 to 1.
    """
    size = crop.shape[0]
    crop = _part(crop, random)
    if random.random() < 0.5:
        crop = crop[:, ::-1]
    if random.random() < 0.3:
        crop = _lower_resolution(crop, random)
    crop = _colour(crop, random, grey_share)
    if random.random() < 0.3:
        crop = _noise(crop, random)
    if random.random() < 0.4:
        crop = _recompress(crop, random)
    if random.random() < 0.2:
        crop = _hide(crop, random)
    assert crop.shape == (size, size, 3)
    return np.ascontiguousarray(crop)


def _part(crop: Picture, random: np.random.Generator) -> Picture:
    """A slightly turned square within the crop, 75 to 100 % of its side, at the size of the crop."""
    size = crop.shape[0]
    angle = np.radians(random.uniform(-8, 8))
    spread = abs(np.cos(angle)) + abs(np.sin(angle))
    side = size / spread * random.uniform(0.75, 1.0)
    slack = (size - side * spread) / 2
    centre = size / 2 + random.uniform(-slack, slack, 2)
    cos, sin = np.cos(angle) * side / size, np.sin(angle) * side / size
    half = (size - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, centre[0] - 0.5 - (cos - sin) * half],
            [sin, cos, centre[1] - 0.5 - (sin + cos) * half],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return _u8(cv2.warpAffine(crop, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _lower_resolution(crop: Picture, random: np.random.Generator) -> Picture:
    size = crop.shape[0]
    small = int(size * random.uniform(0.3, 0.9))
    how = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    reduced = cv2.resize(crop, (small, small), interpolation=how[random.integers(3)])
    return _u8(cv2.resize(reduced, (size, size), interpolation=how[random.integers(1, 3)]))


def _colour(crop: Picture, random: np.random.Generator, grey_share: float) -> Picture:
    pixels = crop.astype(np.float32) / 255
    if random.random() < 0.8:
        pixels = pixels ** random.uniform(0.7, 1.4)
        pixels = (pixels - pixels.mean()) * random.uniform(0.7, 1.3) + pixels.mean() * random.uniform(0.75, 1.25)
        pixels = pixels * random.uniform(0.88, 1.12, 3).astype(np.float32)  # white balance
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + (pixels - grey) * random.uniform(0.5, 1.5)
    if random.random() < grey_share:
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    return _u8(pixels * 255)


def _noise(crop: Picture, random: np.random.Generator) -> Picture:
    noise = random.standard_normal(crop.shape, dtype=np.float32) * random.uniform(1, 10)
    return _u8(crop + noise)


def _recompress(crop: Picture, random: np.random.Generator) -> Picture:
    quality = int(random.integers(30, 96))
    return through_jpeg(crop, quality)


def _hide(crop: Picture, random: np.random.Generator) -> Picture:
    """The crop with a grey rectangle, so that no single part of the face decides."""
    size = crop.shape[0]
    height, width = random.integers(size // 8, size // 3, 2)
    y, x = random.integers(0, size - height), random.integers(0, size - width)
    crop = crop.copy()
    crop[y : y + height, x : x + width] = int(random.integers(256))
    return crop


def _u8(pixels: NDArray[np.float32] | NDArray[np.uint8] | cv2.typing.MatLike) -> Picture:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
