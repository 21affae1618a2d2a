"""Replay attacks: the pixel grid and the light of a panel, taken by a second camera."""

import cv2
import numpy as np

from liveness_core.types import Picture
from liveness_training.data.simulation.camera import compressed, recapture
from liveness_training.data.simulation.scene import (
    Image,
    coordinates,
    draw_edges,
    draw_flat,
    falloff,
    fingers,
    glare,
    inside,
    surroundings,
)


def simulate_screen(crop: Picture, random: np.random.Generator) -> Picture:
    """A live crop as it looks on a phone, tablet or monitor; same shape.

    What is shown: in two of three a video of JPEG quality 20 to 80, or of 40 to 90 % of the resolution. Panel: gamma
    0.75 to 1.35, contrast such that black is 0 to 0.12, white balance 0.88 to 1.12, saturation 0.7 to
    1.4. Grid: a pixel of 0.35 to 3 of the camera's pixels, stripes of three colours, contrast up to 0.5 before the
    camera's own pixels average it; a lens that bends it by up to 2 %. What is finer than the camera's pixels comes out
    as moiré, as it does in the world. Refresh: bands of 0.5 to 6 periods of up to 12 % in a third. Light: fall-off to
    the side up to 0.6, a mirrored room of up to 15 %, a lamp of up to 0.5 in two of five. Bezel: black to white, 2 to
    12 % wide, in four of five whose edge is in sight; fingers in a third. Then the second camera. All lengths are at
    S = 224.
    """
    size = crop.shape[0]
    picture: Image = np.divide(_shown(crop, random), 255, dtype=np.float32)
    flat, edges = draw_flat(size, random, bends=False), draw_edges(random)
    x, y, _ = coordinates(flat, size)
    panel = _panel(picture, random)
    lit = np.asarray(
        cv2.remap(panel, x - 0.5, y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32
    )
    lit = lit * _grid(x, y, random, size / 224)
    if random.random() < 0.33:
        periods, strength = random.uniform(0.5, 6), np.float32(random.uniform(0, 0.12))
        rows = np.linspace(0, 2 * np.pi * periods, size, dtype=np.float32) + np.float32(random.uniform(0, 6))
        lit = lit * (1 + strength * np.cos(rows))[:, None, None]
    lit = lit * falloff(size, random, 0.6)
    behind = surroundings(picture, random)
    lit = lit + np.float32(random.uniform(0, 0.15)) * surroundings(picture, random)
    if random.random() < 0.4:
        lit = lit + glare(size, random, 0.5)
    on_panel = inside(x, y, edges, size)
    bezel = random.uniform(0.02, 0.12) if random.random() < 0.8 else 0.0
    colour = np.float32(random.choice([0.03, 0.08, 0.5, 0.9]) * random.uniform(0.7, 1.1))
    on_device = inside(x, y, edges, size, grow=bezel)
    scene = lit * on_panel + colour * (on_device - on_panel) + behind * (1 - on_device)
    if random.random() < 0.33:
        scene = fingers(scene.astype(np.float32), edges, random)
    return recapture(scene.astype(np.float32), random)


def _shown(crop: Picture, random: np.random.Generator) -> Picture:
    """The picture that the device plays, sometimes compressed or reduced before."""
    size = crop.shape[0]
    draw = random.random()
    if draw < 0.33:
        return compressed(crop, int(random.integers(20, 81)))
    if draw < 0.66:
        smaller = int(size * random.uniform(0.4, 0.9))
        reduced = cv2.resize(crop, (smaller, smaller), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    return crop


def _panel(picture: Image, random: np.random.Generator) -> Image:
    """The picture in the colours of the panel."""
    picture = picture ** np.float32(random.uniform(0.75, 1.35))
    grey = picture @ np.array([[0.299], [0.587], [0.114]], np.float32)
    picture = grey + (picture - grey) * np.float32(random.uniform(0.7, 1.4))
    black = np.float32(random.uniform(0, 0.12))
    balance = random.uniform(0.88, 1.12, 3).astype(np.float32)
    return (black + (1 - black) * picture) * balance


def _grid(x: Image, y: Image, random: np.random.Generator, scale: float) -> Image:
    """Stripes of subpixels and gaps between rows as the camera's pixels see them: values around 1, shape (S, S, 3).

    Point samples of the grid alias just as a sensor's do; the sensor's pixel, of finite width, lowers the contrast of
    what is finer than itself by sinc(frequency), and the second camera's blur does the rest.
    """
    size = x.shape[0]
    pitch = random.uniform(0.35, 3.0) * scale
    lens = np.float32(random.uniform(-0.02, 0.02))
    dx, dy = x / size - 0.5, y / size - 0.5
    bent = 1 + lens * (dx * dx + dy * dy)
    columns, rows = x * bent / np.float32(pitch), y * bent / np.float32(pitch)
    if random.random() < 0.5:  # the device stands upright or lies on its side
        columns, rows = rows, columns
    contrast = np.float32(random.uniform(0, 0.5) * abs(np.sinc(1 / pitch)) + random.uniform(0, 0.03))
    turn = np.float32(2 * np.pi)
    stripes = np.stack([np.cos(turn * (columns - third / 3)) for third in range(3)], axis=2)
    gaps = np.cos(turn * rows)[..., None]
    return np.asarray((1 + contrast * stripes) * (1 + 0.5 * contrast * gaps), np.float32)
