"""Draws what covers a face over pictures of uncovered ones: masks, scarves, dark glasses, hands; and what does not.

Places come from the five landmarks; shapes, colours and folds are drawn at random, as wide as they vary in photos.
Clear glasses, beards and shadows are drawn too: they are what must not be taken for a covering.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.types import DetectedFace, Picture

Points = NDArray[np.float64]
Random = np.random.Generator

_SURGICAL = ((170, 205, 225), (235, 240, 240), (25, 25, 30), (120, 125, 130), (110, 190, 170), (235, 180, 195))


class Canvas:
    """A picture to draw on, and a face's own axes: origin between the eyes, unit their distance, y to the chin."""

    def __init__(self, picture: Picture, face: DetectedFace, random: Random) -> None:
        self.pixels = picture.astype(np.float32)
        self.random = random
        eye1, eye2, self._nose, mouth1, mouth2 = (np.asarray(point, float) for point in face.landmarks)
        self.middle = (eye1 + eye2) / 2
        mouth = (mouth1 + mouth2) / 2
        self._x = eye2 - eye1
        self._y = (mouth - self.middle) / 1.1
        self.nose_x = float(np.dot(self._nose - self.middle, self._x) / max(np.dot(self._x, self._x), 1e-6))
        self.unit = float(np.linalg.norm(self._x))

    def at(self, points: list[tuple[float, float]]) -> NDArray[np.int32]:
        """Places in the picture, in sixteenths of a pixel."""
        places = self.middle + np.asarray(points, float) @ np.stack([self._x, self._y])
        return np.round(places * 16).astype(np.int32)

    def area(self, points: list[tuple[float, float]], soft: float = 0.02) -> NDArray[np.float32]:
        """How much of each pixel lies inside a polygon."""
        inside = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(inside, [self.at(points)], 255, cv2.LINE_AA, 4)
        blurred = cv2.GaussianBlur(inside, (0, 0), max(soft * self.unit, 0.4))
        return np.asarray(blurred, np.float32) / 255

    def lay(self, area: NDArray[np.float32], colour: NDArray[np.float32]) -> None:
        """Put a colour, one or one for each pixel, over the picture."""
        self.pixels += area[..., None] * (colour - self.pixels)

    def line(self, points: list[tuple[float, float]], width: float, colour: NDArray[np.float32], alpha: float) -> None:
        """Draw a line, its width in distances of the eyes."""
        drawn = np.zeros(self.pixels.shape[:2], np.uint8)
        thick = max(round(width * self.unit), 1)
        cv2.polylines(drawn, [self.at(points)], False, 255, thick, cv2.LINE_AA, 4)
        self.lay(drawn.astype(np.float32) / 255 * alpha, colour)

    def skin(self) -> NDArray[np.float32]:
        """Colour of the cheeks."""
        cheeks = (self.area([(x - 0.15, 0.5), (x + 0.15, 0.5), (x + 0.15, 0.8), (x - 0.15, 0.8)]) for x in (-0.5, 0.5))
        weights = sum(cheeks, np.zeros(self.pixels.shape[:2], np.float32))
        return np.asarray(np.average(self.pixels.reshape(-1, 3), axis=0, weights=weights.ravel() + 1e-9), np.float32)

    def light(self) -> float:
        """How bright the face is, of 1: what is laid over it lies in the same light."""
        return float(np.clip(self.skin().mean() / 165, 0.25, 1.25))

    def done(self) -> Picture:
        """The picture, with the grain that the original has or so, and grey where the original is grey."""
        grain = self.random.normal(0, self.random.uniform(0, 3), self.pixels.shape)
        return np.clip(np.round(self.pixels + grain), 0, 255).astype(np.uint8)


def _cloth(canvas: Canvas, colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """A piece of cloth as large as the picture: shaded from one side, folded, and sometimes with a pattern."""
    random = canvas.random
    height, width = canvas.pixels.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (columns - canvas.middle[0]) / canvas.unit
    down = (rows - canvas.middle[1]) / canvas.unit
    shade = 1 + random.uniform(-0.35, 0.35) * across - random.uniform(0.0, 0.3) * (across - canvas.nose_x) ** 2
    shade -= random.uniform(-0.1, 0.25) * (down - 0.8)
    for _ in range(int(random.integers(0, 5))):
        slope, place, sharp = random.uniform(-0.3, 0.3), random.uniform(0.3, 1.8), random.uniform(6, 30)
        shade += random.uniform(-0.2, 0.2) * np.exp(-(((down - place - slope * across) * sharp) ** 2))
    cloth = colour * np.clip(shade, 0.2, 1.5)[..., None] * canvas.light()
    if random.random() < 0.25:
        cell = max(int(canvas.unit * random.uniform(0.04, 0.25)), 1)
        shape = (height // cell + 2, width // cell + 2)
        pattern = random.normal(0, random.uniform(10, 60), (*shape, 3 if random.random() < 0.5 else 1))
        spread = np.asarray(cv2.resize(pattern.astype(np.float32), None, fx=cell, fy=cell), np.float32)
        cloth = cloth + spread.reshape(*spread.shape[:2], -1)[:height, :width]
    return np.asarray(cloth, np.float32)


def _any_colour(random: Random) -> NDArray[np.float32]:
    if random.random() < 0.6:
        colour = np.asarray(_SURGICAL[int(random.integers(len(_SURGICAL)))], float) + random.normal(0, 12, 3)
    else:
        colour = random.uniform(5, 245, 3)
    return np.clip(colour, 3, 250).astype(np.float32)


def mask(canvas: Canvas) -> None:
    """A mask over nose, mouth and chin."""
    random, x = canvas.random, canvas.nose_x
    top, side, chin = random.uniform(0.1, 0.5), random.uniform(0.85, 1.15), random.uniform(1.65, 2.0)
    ear = random.uniform(0.2, 0.65)
    outline = [(x * 0.6, top), (0.35 + x * 0.4, top + 0.12), (side + x * 0.3, ear), (side - 0.05, ear + 0.75)]
    outline += [(0.5, chin - 0.08), (0.0, chin), (-0.5, chin - 0.08), (0.05 - side, ear + 0.75)]
    outline += [(x * 0.3 - side, ear), (x * 0.4 - 0.35, top + 0.12)]
    shaken = [(px + random.normal(0, 0.03), py + random.normal(0, 0.03)) for px, py in outline]
    colour = _any_colour(random)
    canvas.lay(canvas.area(shaken), _cloth(canvas, colour))
    if random.random() < 0.6:
        for sign in (-1, 1):
            canvas.line([(sign * side, ear), (sign * (side + 0.35), random.uniform(-0.2, 0.2))], 0.03, colour, 0.9)
    if random.random() < 0.4:
        for row in np.linspace(0.75, 1.3, int(random.integers(2, 5))):
            canvas.line([(-0.7, row), (x * 0.5, row + 0.03), (0.7, row)], 0.015, colour * 0.8, 0.5)


def scarf(canvas: Canvas) -> None:
    """Cloth from the nose down, beyond the face."""
    random = canvas.random
    top = random.uniform(0.25, 0.75)
    outline = [(-1.6, top + random.uniform(-0.2, 0.3)), (0.0, top), (1.6, top + random.uniform(-0.2, 0.3))]
    outline += [(1.7, 2.8), (-1.7, 2.8)]
    canvas.lay(canvas.area(outline), _cloth(canvas, _any_colour(random)))


def _lens(random: Random, sign: int, width: float, height: float, round_: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    power = 2 / round_
    droop = random.uniform(0, 0.1)
    points = []
    for angle in angles:
        x = np.sign(np.cos(angle)) * abs(np.cos(angle)) ** power * width / 2
        y = np.sign(np.sin(angle)) * abs(np.sin(angle)) ** power * height / 2
        points.append((sign * (0.5 + x), y * (1 + droop * x) + 0.05))
    return points


def glasses(canvas: Canvas, *, dark: bool) -> None:
    """Glasses before both eyes: dark or mirrored, or clear ones in which the eyes are seen."""
    random = canvas.random
    width, height, round_ = random.uniform(0.65, 0.98), random.uniform(0.42, 0.85), random.uniform(2, 4)
    state = random.bit_generator.state
    lenses = []
    for sign in (-1, 1):
        random.bit_generator.state = state
        lenses.append(_lens(random, sign, width, height, round_))
    down = random.uniform(-0.02, 0.12)
    lenses = [[(x, y + down) for x, y in lens] for lens in lenses]
    frame = (random.uniform(0, 60, 3) if random.random() < 0.7 else random.uniform(0, 255, 3)).astype(np.float32)
    frame = frame * canvas.light()
    if dark:
        mirrored = random.random() < 0.25
        tone = random.uniform(30, 220, 3) if mirrored else random.uniform(2, 60) + random.normal(0, 6, 3)
        lower = tone * random.uniform(0.6, 2.0) + random.normal(0, 10, 3)
        rows = (np.arange(canvas.pixels.shape[0], dtype=np.float32) - canvas.middle[1]) / canvas.unit / height + 0.5
        share = np.clip(rows, 0, 1)[:, None, None]
        glass = np.clip(tone + share * (lower - tone), 0, 255).astype(np.float32) * canvas.light()
        glass = np.broadcast_to(glass, canvas.pixels.shape).copy()
        if random.random() < 0.5:  # what is mirrored in them
            blobs = random.normal(0, random.uniform(5, 50), (5, 7, 1)).astype(np.float32)
            side = (canvas.pixels.shape[1], canvas.pixels.shape[0])
            local = cv2.resize(np.pad(blobs[..., 0], 1), side, interpolation=cv2.INTER_CUBIC)
            glass += np.asarray(local, np.float32)[..., None]
        for lens in lenses:
            canvas.lay(canvas.area(lens) * random.uniform(0.86, 1.0), glass)
    else:
        for lens in lenses:
            tint = np.full(3, random.uniform(60, 255), np.float32)
            canvas.lay(canvas.area(lens) * random.uniform(0, 0.25), tint)
            if random.random() < 0.3:
                x, y = random.uniform(-0.25, 0.25), random.uniform(-0.15, 0.15)
                spot = [(lens[0][0] * 0.6 + x + dx, y + dy) for dx, dy in ((0, 0), (0.12, 0), (0.16, 0.1), (0.04, 0.1))]
                canvas.lay(canvas.area(spot, 0.03) * random.uniform(0.2, 0.9), np.full(3, 245, np.float32))
    thick = random.uniform(0.015, 0.09)
    for lens in lenses:
        canvas.line([*lens, lens[0]], thick, frame, random.uniform(0.6, 1))
    canvas.line([(-0.5 + width / 2, 0.0), (0.5 - width / 2, 0.0)], thick, frame, 0.9)
    for sign in (-1, 1):
        canvas.line([(sign * (0.5 + width / 2), 0.0), (sign * 1.15, -0.05)], thick, frame, 0.9)


def hand(canvas: Canvas, *, over_eyes: bool) -> None:
    """A hand over mouth and nose, or over the eyes: fingers side by side in the colour of the face."""
    random = canvas.random
    colour = np.clip(canvas.skin() * random.uniform(0.75, 1.15) + random.normal(0, 6, 3), 5, 250).astype(np.float32)
    down = random.uniform(-0.1, 0.1) if over_eyes else random.uniform(0.8, 1.15)
    centre = np.array([random.uniform(-0.15, 0.15), down])
    angle = random.choice([-1, 1]) * random.uniform(0.0, 0.6) + random.choice([0, np.pi / 2], p=[0.7, 0.3])
    along, beside = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    fingers, thick = int(random.integers(3, 5)), random.uniform(0.2, 0.3)
    cloth = _cloth(canvas, colour / canvas.light())
    for finger in range(fingers):
        middle = centre + beside * (finger - (fingers - 1) / 2) * thick
        reach = random.uniform(0.85, 1.2)
        ends = (middle - along * random.uniform(1.2, 1.8), middle + along * reach)
        drawn = np.zeros(canvas.pixels.shape[:2], np.uint8)
        places = canvas.at([(float(end[0]), float(end[1])) for end in ends])
        cv2.line(drawn, places[0].tolist(), places[1].tolist(), 255, max(round(thick * canvas.unit), 1), cv2.LINE_AA, 4)
        canvas.lay(drawn.astype(np.float32) / 255, cloth * random.uniform(0.9, 1.05))
        if finger:
            edge = [tuple((end - beside * thick / 2).tolist()) for end in ends]
            canvas.line(edge, 0.03, colour * 0.55, random.uniform(0.3, 0.9))


def beard(canvas: Canvas) -> None:
    """Hair on chin and cheeks; the mouth stays to be seen."""
    random = canvas.random
    colour = random.uniform(10, 150) + random.normal(0, 5, 3) + np.array([12, 4, -4]) * random.uniform(0, 2)
    top = random.uniform(0.7, 1.0)
    jaw = [(-0.95, top - 0.4), (-0.6, top + 0.1), (-0.3, 0.95), (0.3, 0.95), (0.6, top + 0.1), (0.95, top - 0.4)]
    jaw += [(0.8, 1.4), (0.4, 1.95), (-0.4, 1.95), (-0.8, 1.4)]
    area = canvas.area(jaw, 0.08)
    mouth = canvas.area([(-0.32, 1.05), (0.0, 1.0), (0.32, 1.05), (0.25, 1.2), (0.0, 1.25), (-0.25, 1.2)], 0.03)
    height, width = area.shape
    hair = cv2.resize(random.normal(0, 1, (height, max(width // 2, 1))).astype(np.float32), (width, height))
    texture = np.asarray(hair, np.float32)[..., None] * random.uniform(5, 30)
    tone = np.clip(colour, 3, 200).astype(np.float32) * canvas.light()
    canvas.lay(area * (1 - mouth) * random.uniform(0.3, 0.95), tone + texture)


def shadow(canvas: Canvas) -> None:
    """A shadow or a light from one side, as of a hat or a window."""
    random = canvas.random
    angle = random.uniform(0, 2 * np.pi)
    height, width = canvas.pixels.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    place = ((columns - canvas.middle[0]) * np.cos(angle) + (rows - canvas.middle[1]) * np.sin(angle)) / canvas.unit
    share = 1 / (1 + np.exp(-(place - random.uniform(-0.5, 0.8)) * random.uniform(1.5, 12)))
    canvas.pixels *= (1 + (random.uniform(0.25, 0.9) - 1) * share)[..., None].astype(np.float32)
