"""A flat object with a face on it, held before a camera: its edges, background, fingers and light."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Pictures here are float32 in [0, 1], the values of the file divided by 255; S is their side.

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Flat:
    """How the flat object lies in the picture."""

    back_33: NDArray[np.float64]
    """Homography from the pixels of the picture to those of the object."""
    bend: float
    """How far its middle bulges towards the camera, as a share of S; 0 is flat."""
    axis_deg: float
    """Direction of the axis that it is bent about."""


def draw_flat(size: int, random: np.random.Generator, *, bends: bool) -> Flat:
    """Draw how it is held: turned by up to 6°, a corner tilted by up to 5 % of S, bent by up to 6 % of S."""
    corners_42 = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    angle = np.radians(random.uniform(-6, 6))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners_42 - size / 2) @ turn.T + size / 2 + random.uniform(-0.05, 0.05, (4, 2)) * size
    back_33 = cv2.getPerspectiveTransform(moved.astype(np.float32), corners_42)
    bend = random.uniform(-0.06, 0.06) if bends and random.random() < 0.5 else 0.0
    return Flat(np.asarray(back_33), bend, random.uniform(-90, 90))


def coordinates(flat: Flat, size: int) -> tuple[Image, Image, Image]:
    """For every pixel of the picture its x and y on the object, and a shade from the bend, about 1; each (S, S)."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    shade = np.ones((size, size), np.float32)
    if flat.bend:
        angle = np.radians(flat.axis_deg)
        across = ((x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)) / (size / 2)
        shift = flat.bend * size * across * (1 - np.clip(across * across, 0, 1))
        x, y = x + shift * np.float32(np.cos(angle)), y + shift * np.float32(np.sin(angle))
        shade = (1 + 3 * flat.bend * across).astype(np.float32)
    h = flat.back_33.astype(np.float32)
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    across_flat, down_flat = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w
    return across_flat.astype(np.float32), down_flat.astype(np.float32), shade


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of the object in its own coordinates, as shares of S; an edge below 0 or above 1 is out of sight."""

    left: float
    top: float
    right: float
    bottom: float


def draw_edges(random: np.random.Generator) -> Edges:
    """Draw the edges: none in sight in 40 % of pictures, else every edge 2 to 18 % of S inside or out of sight."""
    if random.random() < 0.4:
        return Edges(-1, -1, 2, 2)
    inside = np.where(random.random(4) < 0.6, random.uniform(0.02, 0.18, 4), -1)
    left, top, right, bottom = (float(value) for value in inside)
    return Edges(left, top, 1 - right, 1 - bottom)


def inside(x: Image, y: Image, edges: Edges, size: int, softness_px: float = 1.0, grow: float = 0.0) -> Image:
    """1 on the object, 0 beside it, with soft edges, shape (S, S, 1); `grow` moves them outwards by a share of S."""
    distance = np.minimum(
        np.minimum(x - (edges.left - grow) * size, (edges.right + grow) * size - x),
        np.minimum(y - (edges.top - grow) * size, (edges.bottom + grow) * size - y),
    )
    return np.asarray(np.clip(distance / softness_px + 0.5, 0, 1)[..., None], np.float32)


def surroundings(picture: Image, random: np.random.Generator) -> Image:
    """Draw a background: a blurred room in the colours of the picture, or a plain wall that is darker on one side."""
    size = picture.shape[0]
    if random.random() < 0.5:
        rolled = np.roll(picture[::-1], (size // 2, size // 3), axis=(0, 1))
        # Blurred at a quarter of the size: 4 to 16 pixels of blur for a sixteenth of the work.
        small = cv2.resize(rolled, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), random.uniform(1, 4))
        far = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
        return np.asarray(far * random.uniform(0.5, 1.3), np.float32)
    colour = random.uniform(0.1, 0.95) * random.uniform(0.85, 1.15, 3)
    return np.asarray(np.broadcast_to(colour, picture.shape) * falloff(size, random, 0.4), np.float32)


def falloff(size: int, random: np.random.Generator, most: float) -> Image:
    """Light from one side: a slope around 1 whose ends differ by up to `most`; shape (S, S, 1)."""
    angle = random.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = np.float32(np.cos(angle)) * ramp[None] + np.float32(np.sin(angle)) * ramp[:, None]
    return np.asarray((1 + np.float32(random.uniform(0, most)) * slope)[..., None], np.float32)


def glare(size: int, random: np.random.Generator, most: float) -> Image:
    """Reflection of a lamp: one soft ellipse, 5 to 40 % of S wide, brightness up to `most`; shape (S, S, 1)."""
    small = np.zeros((size // 4, size // 4), np.float32)
    centre = random.integers(0, size // 4, 2)
    axes = np.maximum(random.uniform(0.05, 0.4, 2) * size / 8, 1)
    cv2.ellipse(
        small,
        (int(centre[0]), int(centre[1])),
        (int(axes[0]), int(axes[1])),
        random.uniform(0, 180),
        0,
        360,
        float(random.uniform(0.2, 1) * most),
        -1,
    )
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), random.uniform(0.5, 6)))
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)[..., None]


def fingers(picture: Image, edges: Edges, random: np.random.Generator) -> Image:
    """The picture with one to three fingers over an edge in sight, in a darker or lighter colour of the face."""
    size = picture.shape[0]
    holds = {
        (edges.left, 0.5, 0): edges.left > 0,
        (edges.right, 0.5, 180): edges.right < 1,
        (0.5, edges.bottom, -90): edges.bottom < 1,
    }
    visible = [hold for hold, is_visible in holds.items() if is_visible]
    if not visible:
        return picture
    x, y, direction = visible[random.integers(len(visible))]
    middle = picture[int(size * 0.42) : int(size * 0.58), int(size * 0.42) : int(size * 0.58)]
    skin = middle.mean((0, 1)) * random.uniform(0.7, 1.2)
    mask = np.zeros((size, size), np.float32)
    along = random.uniform(0.2, 0.8)
    width = random.uniform(0.03, 0.06) * size
    for number in range(int(random.integers(1, 4))):
        offset = along * size + number * 2.2 * width
        centre = (x * size, offset) if direction in (0, 180) else (offset, y * size)
        length = random.uniform(0.06, 0.14) * size
        cv2.ellipse(
            mask,
            (int(centre[0]), int(centre[1])),
            (max(int(length), 1), max(int(width), 1)),
            direction + random.uniform(-15, 15),
            0,
            360,
            1.0,
            -1,
        )
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 150), np.float32)[..., None]
    round_ = np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 40), np.float32)[..., None]
    return np.asarray(picture * (1 - soft) + skin.astype(np.float32) * (0.55 + 0.45 * round_) * soft, np.float32)
