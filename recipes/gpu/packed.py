"""A pack: faces of labelled data in few files, small enough to be sent to a machine with a GPU.

Of each picture the part is kept that the largest crop of its face lies in, as it is in the picture, not turned, and
reduced where it is larger than `MOST_PX`. Crops nest, so every smaller one lies in it too, and is cut from it by the
rule of `liveness_core.alignment`, as the service cuts it from the whole picture; what remains is the compression
(`drift.py` measures that).

`faces.bin` holds the pictures one after the other, `index.npz` what is known of them, `plan.json` the runs to be made,
`init/` the weights that they start from. Reading it needs NumPy and OpenCV alone.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import CropSquare, crop_square, cut
from liveness_core.types import Box, DetectedFace, Picture
from liveness_training.data.protocols import Protocol, make_protocol
from liveness_training.data.samples import Sample

# M faces found, V views of each, S crop size

MARGIN = 4.0
"""Of the largest crop."""
MOST_PX = 256
"""Longest side of a part. Most of these data sets' pictures are no higher."""
VIEW_MARGINS = (1.1, 3.3)
"""Margins of views other than the first, as in `liveness_training.data.cutting`."""
TEXTS = ("path", "domain", "species", "subject", "sequence", "split", "detail")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a face lay in its picture."""

    width: int
    height: int
    box: tuple[float, float, float, float]
    eyes: tuple[float, float, float, float]
    """x and y of the left eye, then of the right one."""

    def square(self, margin: float) -> CropSquare:
        """The square of a margin in the picture."""
        eyes = (self.eyes[:2], self.eyes[2:])
        return crop_square(DetectedFace(Box(*self.box), (*eyes, *eyes, eyes[0]), 1.0), self.width, self.height, margin)

    @property
    def part(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the part of the picture that is kept."""
        square = self.square(MARGIN)
        angle = math.radians(square.angle_deg)
        reach = square.side_px * (abs(math.cos(angle)) + abs(math.sin(angle))) / 2
        x, y = square.centre
        left, top = max(math.floor(x - reach), 0), max(math.floor(y - reach), 0)
        return left, top, min(math.ceil(x + reach), self.width), min(math.ceil(y + reach), self.height)


def place_of(picture: Picture, face: DetectedFace) -> Place:
    """Where a face lies."""
    box = (face.box.x1, face.box.y1, face.box.x2, face.box.y2)
    return Place(picture.shape[1], picture.shape[0], box, (*face.landmarks[0], *face.landmarks[1]))


def kept(picture: Picture, place: Place) -> Picture:
    """The part of a picture that a pack keeps."""
    left, top, right, bottom = place.part
    part = picture[top:bottom, left:right]
    scale = MOST_PX / max(part.shape[:2])
    if scale >= 1:
        return part
    size = (max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1))
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def decoded(content: bytes) -> Picture:
    """The RGB picture of an encoded part.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("a part cannot be decoded: OpenCV without WebP, or a damaged pack")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class Pack:
    """A pack on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: dict[str, Any] = json.loads((folder / "plan.json").read_text())
        with np.load(folder / "index.npz") as file:
            index = {name: file[name] for name in file.files}
        found_N = index["found"].astype(bool)
        samples = [
            Sample(path, domain, bool(live), species, subject, sequence, split or None, detail)
            for live, path, domain, species, subject, sequence, split, detail in zip(
                index["live"].tolist(), *(index[name].tolist() for name in TEXTS), strict=True
            )
        ]
        self.samples = tuple(sample for sample, found in zip(samples, found_N, strict=True) if found)
        self.missed = tuple(sample for sample, found in zip(samples, found_N, strict=True) if not found)
        self._ends_M = np.cumsum(index["bytes"].astype(np.int64))
        self.places = [
            Place(int(w), int(h), tuple(rest[:4]), tuple(rest[4:])) for w, h, *rest in index["place"].tolist()
        ]

    @cached_property
    def _content(self) -> NDArray[np.uint8]:
        return np.memmap(self.folder / "faces.bin", np.uint8, "r")

    def content(self, row: int) -> bytes:
        """The encoded part of a picture that is kept of a face."""
        return bytes(self._content[self._ends_M[row - 1] if row else 0 : self._ends_M[row]])

    def picture(self, row: int) -> Picture:
        """The part of a picture that is kept of a face, RGB."""
        return decoded(self.content(row))

    def square(self, row: int, margin: float, width: int) -> CropSquare:
        """Where the square of a margin lies within the part that is kept, which is `width` pixels wide."""
        place = self.places[row]
        left, top, right, _ = place.part
        square, scale = place.square(margin), width / (right - left)
        centre = ((square.centre[0] - left) * scale, (square.centre[1] - top) * scale)
        return CropSquare(centre, square.side_px * scale, square.angle_deg)

    def crop(self, row: int, margin: float, size: int) -> Picture:
        """One crop of a face, shape (S, S, 3)."""
        picture = self.picture(row)
        return cut(picture, self.square(row, margin, picture.shape[1]), size)

    def margins(self, row: int, margin: float, views: int) -> list[float]:
        """The margins of a face's views: the service's, then random ones that a recording's frames share."""
        sample = self.samples[row]
        name = sample.sequence or sample.path
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        return [margin, *random.uniform(*VIEW_MARGINS, size=views - 1).tolist()]

    def crops(self, row: int, margin: float, views: int, size: int) -> NDArray[np.uint8]:
        """The views of a face, shape (V, S, S, 3)."""
        picture = self.picture(row)
        squares = [self.square(row, each, picture.shape[1]) for each in self.margins(row, margin, views)]
        return np.stack([cut(picture, square, size) for square in squares])

    def protocol(self, config: dict[str, Any]) -> Protocol:
        """Which faces a run trains on, and which it is reported on."""
        return make_protocol(
            self.samples,
            self.missed,
            config["hold_out"],
            sources=config["sources"],
            people=config["people"],
            live_only=config["simulate"],
        )
