"""The records that pass between detection, alignment, scoring, and the service and training built on them.

Coordinates are pixels of the upright picture; (0, 0) is the top-left corner of the top-left pixel, so a picture of
width W covers x from 0 to W. Pictures are `uint8` arrays of shape (H, W, 3), RGB.
"""

from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""An upright RGB picture, shape (H, W, 3)."""

FaceCrops = tuple[Picture, ...]
"""The crops of one face: one for each view of the model, in the order of its views, each (S, S, 3)."""

Score = NewType("Score", float)
"""Probability that the presentation is bona fide (live), in [0, 1]. Higher is always more live."""

Point = tuple[float, float]
"""x and y in pixels."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle; x2 > x1 and y2 > y1. It may reach beyond the picture."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> Point:
        """The middle of the box."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def clipped(self, width: float, height: float) -> "Box":
        """The part of the box inside a picture of this size; a box without area if it lies wholly outside."""
        return Box(
            min(max(self.x1, 0.0), width),
            min(max(self.y1, 0.0), height),
            min(max(self.x2, 0.0), width),
            min(max(self.y2, 0.0), height),
        )


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face, in the form in which every detector reports it."""

    box: Box
    """From forehead to chin and from ear to ear."""
    landmarks: tuple[Point, Point, Point, Point, Point]
    """Left eye, right eye, nose tip, left mouth corner, right mouth corner; left and right as seen in the picture."""
    confidence: float
    """The detector's own confidence in [0, 1]; not comparable between detectors."""


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A square crop around a face, turned until the eyes are level. Every pixel is taken from the picture."""

    pixels: Picture
    """Shape (S, S, 3), RGB."""
    centre: Point
    """Centre of the crop in the picture."""
    side_px: float
    """Side of the crop in the picture, before it was resized to S."""
    margin: float
    """`side_px` over the size of the face; less than the requested margin where the picture was too small for that."""
    angle_deg: float
    """Angle by which the crop is turned against the picture; positive is clockwise on the screen."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Measurements of a face's picture, taken before any model scores it."""

    face_px: float
    """The shorter side of the face's box, in pixels."""
    sharpness: float
    """From 0 (no detail) to 1 (crisp); see `quality.measure`."""
    brightness: float
    """Mean luma of the face, from 0 (black) to 1 (white)."""
    yaw_deg: float
    """Turn of the head; positive when the nose points to the picture's right."""
    pitch_deg: float
    """Nod of the head; positive when the nose points up."""
    roll_deg: float
    """Tilt of the head; positive is clockwise on the screen."""
    cut_off: float
    """Share of the face's box that lies outside the picture, 0 to 1."""
    noise: float = 0.0
    """Standard deviation of the noise in the face's smooth parts, in grey levels, at the size that encoders see."""
    grain: float = 0.0
    """Standard deviation of the noise between neighbouring pixels of the picture, in grey levels, divided by the factor
    by which the picture shrinks to the size that encoders see."""
    blockiness: float = 0.0
    """By how much the steps between a coder's blocks exceed those inside, as a share; 0 if they are alike."""
