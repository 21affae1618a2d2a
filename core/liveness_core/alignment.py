"""The crop rule: from a detected face to a square picture of it with level eyes.

The rule is part of the model: the same network scores much worse on crops that another rule cut. So it is written once,
here, for training and for the service, and its only parameter, the margin, is kept in the bundle.

1. The size of the face is the geometric mean of the sides of its box, its centre is the centre of the box.
2. The crop is a square with the side `margin` x size around that centre, turned so that the eyes are level.
3. Where the square does not fit into the picture, it shrinks until it does and is then shifted inside. No pixel is ever
   invented, since a network would learn to recognise replicated or black borders.
4. The square is resized to `size` pixels. Where that shrinks it, areas are averaged, so that fine screen patterns do
   not turn into moire.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from liveness_core.types import AlignedFace, Box, DetectedFace, Picture, Point


@dataclass(frozen=True, slots=True)
class CropSquare:
    """Where a crop lies in the picture: a square around `centre`, turned clockwise on the screen by `angle_deg`."""

    centre: Point
    side_px: float
    angle_deg: float


def face_size(box: Box) -> float:
    """Size of a face in pixels: the geometric mean of the box's sides, which differs least between detectors."""
    return math.sqrt(max(box.width, 1.0) * max(box.height, 1.0))


def eye_angle_deg(face: DetectedFace) -> float:
    """Angle of the line through the eyes, in degrees: 0 is level, positive is clockwise on the screen."""
    (left_x, left_y), (right_x, right_y) = face.landmarks[0], face.landmarks[1]
    return math.degrees(math.atan2(right_y - left_y, right_x - left_x))


def crop_square(face: DetectedFace, width: int, height: int, margin: float) -> CropSquare:
    """Place the crop by steps 1 to 3 of the rule in a picture of `width` x `height` pixels."""
    angle = eye_angle_deg(face)
    # Width, and height, that a turned square of side 1 takes up.
    spread = abs(math.cos(math.radians(angle))) + abs(math.sin(math.radians(angle)))
    side = min(margin * face_size(face.box), min(width, height) / spread)
    reach = side * spread / 2
    x, y = face.box.centre
    centre = (min(max(x, reach), width - reach), min(max(y, reach), height - reach))
    return CropSquare(centre, side, angle)


def cut(picture: Picture, square: CropSquare, size: int) -> Picture:
    """Resample the square to `size` x `size` pixels (step 4 of the rule)."""
    height, width = picture.shape[:2]
    angle = math.radians(square.angle_deg)
    reach = square.side_px * (abs(math.cos(angle)) + abs(math.sin(angle))) / 2
    # Only the surroundings of the square are resampled, never a whole 50-megapixel picture.
    x1 = max(math.floor(square.centre[0] - reach), 0)
    y1 = max(math.floor(square.centre[1] - reach), 0)
    x2 = min(math.ceil(square.centre[0] + reach), width)
    y2 = min(math.ceil(square.centre[1] + reach), height)
    region = picture[y1:y2, x1:x2]
    scale_x = scale_y = 1.0
    if square.side_px > size:
        new_width = max(round(region.shape[1] * size / square.side_px), 1)
        new_height = max(round(region.shape[0] * size / square.side_px), 1)
        scale_x, scale_y = new_width / region.shape[1], new_height / region.shape[0]
        region = cv2.resize(region, (new_width, new_height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    # The matrix maps coordinates in the crop to coordinates in the region. OpenCV's origin is the centre of the first
    # pixel and ours its corner, hence the halves.
    step = square.side_px / size
    cos, sin = math.cos(angle) * step, math.sin(angle) * step
    centre_x, centre_y = (square.centre[0] - x1) * scale_x, (square.centre[1] - y1) * scale_y
    half = (size - 1) / 2
    matrix = np.array(
        [
            [cos * scale_x, -sin * scale_x, centre_x - 0.5 - (cos - sin) * scale_x * half],
            [sin * scale_y, cos * scale_y, centre_y - 0.5 - (sin + cos) * scale_y * half],
        ]
    )
    # The square lies inside the picture: replication only serves the outermost half pixel of interpolation.
    crop = cv2.warpAffine(
        region,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop.astype(np.uint8, copy=False)


def align(picture: Picture, face: DetectedFace, *, margin: float, size: int) -> AlignedFace:
    """Cut the crop of one face.

    Args:
        picture: upright RGB picture, shape (H, W, 3).
        face: a face found in it.
        margin: side of the crop divided by the size of the face, e.g. 2.7.
        size: side of the resulting crop in pixels.
    """
    height, width = picture.shape[:2]
    square = crop_square(face, width, height, margin)
    return AlignedFace(
        pixels=cut(picture, square, size),
        centre=square.centre,
        side_px=square.side_px,
        margin=square.side_px / face_size(face.box),
        angle_deg=square.angle_deg,
    )


class LevelCrops:
    """The crops of one face by this rule. Each is cut once, however many steps look at it."""

    def __init__(self, picture: Picture, face: DetectedFace) -> None:
        self._picture = picture
        self._face = face
        self._cut: dict[tuple[float, int], Picture] = {}

    def get(self, margin: float, size: int) -> Picture:
        """The crop of shape (size, size, 3); see `align`."""
        crop = self._cut.get((margin, size))
        if crop is None:
            crop = self._cut[margin, size] = align(self._picture, self._face, margin=margin, size=size).pixels
        return crop
