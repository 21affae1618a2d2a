"""Print attacks: ink on paper, held before a second camera."""

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

_SCREEN_ANGLES_DEG = (15.0, 75.0, 45.0)  # cyan, magenta, black-like third: what offset and laser printers use


def simulate_print(crop: Picture, random: np.random.Generator) -> Picture:
    """A live crop as it looks printed; same shape.

    Paper: white point 0.78 to 1 with a tint of up to 4 %, blacks lifted to 0.02 to 0.18, saturation 0.45 to 1.05,
    gamma 0.8 to 1.3, ink that bleeds 0 to 0.8 pixels. Half of them show the printer: a halftone of 1.8 to 5 pixels a
    dot at a contrast of up to 25 %, or an inkjet's grain of up to 8 %, or its bands every 4 to 30 pixels of up to 5 %.
    Paper's own grain of up to 2 %. Bent, turned and tilted as in `scene`, with white borders of 0 to 8 % in half of
    those whose edge is in sight, fingers in two of five, a glossy glare of up to 0.6 in a third. Then the second
    camera. All lengths are at S = 224.
    """
    size = crop.shape[0]
    scale = size / 224
    if random.random() < 0.3:  # the photo that was printed came from the internet
        crop = compressed(crop, int(random.integers(30, 90)))
    picture: Image = np.divide(crop, 255, dtype=np.float32)
    flat, edges = draw_flat(size, random, bends=True), draw_edges(random)
    x, y, shade = coordinates(flat, size)
    ink = _inked(picture, random, scale)
    sheet = np.asarray(
        cv2.remap(ink, x - 0.5, y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32
    )
    sheet = _printed(sheet, x, y, random, scale)
    border = random.uniform(0, 0.08) if random.random() < 0.5 else 0.0
    white = np.float32(random.uniform(0.78, 1)) * (1 + random.uniform(-0.04, 0.04, 3)).astype(np.float32)
    ink_area = inside(x, y, edges, size)
    paper: Image = white * (sheet * ink_area + (1 - ink_area))
    paper = paper * shade[..., None] * falloff(size, random, 0.5)
    if random.random() < 0.33:
        paper = paper + glare(size, random, 0.6)
    on_paper = inside(x, y, edges, size, grow=border)
    behind = surroundings(picture, random)
    shadow = np.asarray(cv2.GaussianBlur(on_paper, (0, 0), 4 * scale), np.float32)[..., None]
    lit_room = behind * (1 - np.float32(random.uniform(0, 0.5)) * shadow)
    scene = np.asarray(paper * on_paper + lit_room * (1 - on_paper), np.float32)
    if random.random() < 0.4:
        scene = fingers(scene, edges, random)
    return recapture(scene, random)


def _inked(picture: Image, random: np.random.Generator, scale: float) -> Image:
    """The picture in the colours of the printer."""
    picture = picture ** np.float32(random.uniform(0.8, 1.3))
    grey = picture @ np.array([[0.299], [0.587], [0.114]], np.float32)
    picture = grey + (picture - grey) * np.float32(random.uniform(0.45, 1.05))
    black = np.float32(random.uniform(0.02, 0.18))
    picture = black + (1 - black) * picture
    bleed = random.uniform(0, 0.8) * scale
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), bleed), np.float32) if bleed > 0.1 else picture


def _printed(sheet: Image, x: Image, y: Image, random: np.random.Generator, scale: float) -> Image:
    """The sheet with the printer's pattern and the paper's grain."""
    size = sheet.shape[0]
    kind = random.random()
    if kind < 0.2:
        pitch = random.uniform(1.8, 5) * scale
        contrast = np.float32(random.uniform(0.05, 0.25))
        turned = random.uniform(0, 90)
        for channel, degrees in enumerate(_SCREEN_ANGLES_DEG):
            angle = np.radians(degrees + turned)
            u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / pitch)
            v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / pitch)
            # Dots show most where half of the paper is covered.
            covered = sheet[..., channel]
            sheet[..., channel] += contrast * 2 * covered * (1 - covered) * (np.cos(u) + np.cos(v)).astype(np.float32)
    elif kind < 0.4:
        grain = random.standard_normal((size, size, 3), dtype=np.float32)
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), random.uniform(0.4, 1.2) * scale), np.float32)
        sheet = sheet + grain / max(float(grain.std()), 1e-6) * np.float32(random.uniform(0, 0.08))
    elif kind < 0.5:
        period = random.uniform(4, 30) * scale
        bands = np.cos(y * np.float32(2 * np.pi / period))[..., None] * np.float32(random.uniform(0, 0.05))
        sheet = sheet * (1 + bands)
    paper = random.standard_normal((size // 2, size // 2), dtype=np.float32) * np.float32(random.uniform(0, 0.02))
    grown = np.asarray(cv2.resize(paper, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    return sheet * (1 + grown[..., None])
