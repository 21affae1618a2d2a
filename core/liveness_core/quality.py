"""Measurements of a face's picture, and the limits beyond which it is refused instead of scored.

A refusal whose reason the user can act on is worth more than the score of a picture that no model can judge.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from liveness_core.alignment import LevelCrops, crop_square
from liveness_core.artefacts import blockiness, grain, luma_of, noise, quiet_power
from liveness_core.reasons import Reason
from liveness_core.types import Box, DetectedFace, Picture, Quality

FACE_TOO_SMALL = Reason.FACE_TOO_SMALL
FACE_CUT_OFF = Reason.FACE_CUT_OFF
TOO_BLURRY = Reason.TOO_BLURRY
TOO_DARK = Reason.TOO_DARK
TOO_BRIGHT = Reason.TOO_BRIGHT
EXTREME_POSE = Reason.EXTREME_POSE
TOO_NOISY = Reason.TOO_NOISY
TOO_COMPRESSED = Reason.TOO_COMPRESSED

# Five points of an average adult head, in the order of `DetectedFace.landmarks`. The origin is the midpoint of the
# eyes, the unit their distance; x points to the picture's right, y down, z away from the camera. Only the nose lies
# well outside the plane of the others.
_HEAD_53 = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.62, -0.42], [-0.39, 1.10, 0.02], [0.39, 1.10, 0.02]], dtype=np.float64
)
_HEAD_PINV_45 = np.linalg.pinv(np.hstack([_HEAD_53, np.ones((5, 1))]))

_FACE_VIEW = 128  # side in pixels at which sharpness is measured: one size, so that it does not depend on resolution
_HALF_SHARP = 100.0  # variance of the Laplacian, at that size, whose sharpness is 0.5
# What noise adds to that variance: so many times what it adds in the quieter third of the face, beyond what fine
# texture has in good light. Set so that 123 live pictures at -1 to -5 stops of light keep the sharpness of full light.
_QUIET_SHARE, _QUIET_TIMES, _QUIET_ORDINARY = 0.3, 1.6, 20.0
_SURROUNDINGS = 0.55  # faces, from the middle of a face to what is looked at for blocks
_GRID_PX = 8
_NEARLY_A_LINE = 1e-6  # area over squared length of a camera's two rows; below it rounding would be felt
_NOISE_MARGIN, _NOISE_VIEW = 2.7, 160
"""Noise is measured in what an encoder sees, at the size at which it sees it: the noise of a large picture is averaged
away there, and does no harm."""


class QualityGates(BaseModel):
    """Limits beyond which a face is refused instead of scored. A bundle carries those that its metrics hold for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_face_px: float = Field(default=40.0, ge=0)
    """Least length of the shorter side of the face's box, in pixels."""
    max_cut_off: float = Field(default=0.15, ge=0, le=1)
    """Largest share of the face's box that may lie outside the picture."""
    min_sharpness: float = Field(default=0.05, ge=0, le=1)
    """Least sharpness, on the scale of `Quality.sharpness`."""
    min_brightness: float = Field(default=0.08, ge=0, le=1)
    """Least mean luma of the face."""
    max_brightness: float = Field(default=0.95, ge=0, le=1)
    """Largest mean luma of the face."""
    max_yaw_deg: float = Field(default=45.0, ge=0, le=90)
    """Largest turn of the head to either side, in degrees."""
    max_pitch_deg: float = Field(default=40.0, ge=0, le=90)
    """Largest nod of the head up or down, in degrees."""
    max_roll_deg: float = Field(default=40.0, ge=0, le=180)
    """Largest tilt of the head to either side, in degrees."""
    max_noise: float | None = Field(default=None, ge=0)
    """Largest noise, on the scale of `Quality.noise`. None, as in older bundles: no face is refused for it."""
    sensor_grain: float | None = Field(default=None, ge=0)
    """From this much grain on, on the scale of `Quality.grain`, noise is a sensor's and `max_noise` holds; with less it
    is fine texture, or was smoothed by a coder. None, as in older bundles: `max_noise` holds for every face."""
    max_smooth_noise: float | None = Field(default=None, ge=0)
    """Largest noise of a face with less grain than that. None: no face is refused for it."""
    max_blockiness: float | None = Field(default=None, ge=0)
    """Largest blockiness of a photo, on the scale of `Quality.blockiness`. None: as above."""
    max_clip_blockiness: float | None = Field(default=None, ge=0)
    """Largest mean blockiness of a clip's frames. It is lower: most video decoders smooth the edges of their blocks."""
    max_unsmoothed_clip_blockiness: float | None = Field(default=None, ge=0)
    """The same of a clip by a codec that does not smooth them (`video.VideoReader.smooths_blocks`), whose best quality
    has more blocks than the worst of others. None, as in older bundles: `max_clip_blockiness` holds for it, too."""

    def max_mean_blockiness(self, *, smooths_blocks: bool) -> float | None:
        """Largest mean blockiness of a clip's frames; None for any.

        Args:
            smooths_blocks: whether the clip's codec smooths the edges of its blocks.
        """
        if smooths_blocks or self.max_unsmoothed_clip_blockiness is None:
            return self.max_clip_blockiness
        return self.max_unsmoothed_clip_blockiness


MEASURED_GATES = QualityGates(
    max_noise=0.3,
    sensor_grain=0.35,
    max_smooth_noise=0.6,
    max_blockiness=0.7,
    max_clip_blockiness=0.16,
    max_unsmoothed_clip_blockiness=0.5,
)
"""What a new bundle gets. These six are where the errors of the default bundle rise (docs/adr/0022)."""


def measure(picture: Picture, face: DetectedFace, crops: LevelCrops | None = None) -> Quality:
    """Measure one face.

    Args:
        picture: upright RGB picture, shape (H, W, 3).
        face: a face found in it.
        crops: crops of this face that other steps look at, too.

    Sharpness is v / (v + 100), where v is the variance of the Laplacian of the face's luma after resizing to 128x128
    pixels (Pech-Pacheco et al., 2000), without the part that is noise. A smaller face is enlarged to that size, which
    adds no detail, so it scores low.
    """
    height, width = picture.shape[:2]
    yaw, pitch, roll = head_pose_deg(face)
    luma, box = _surroundings(picture, face.box)
    inside = box.clipped(luma.shape[1], luma.shape[0])
    view = luma[
        int(inside.y1) : max(math.ceil(inside.y2), int(inside.y1) + 1),
        int(inside.x1) : max(math.ceil(inside.x2), int(inside.x1) + 1),
    ]
    sharpness, brightness = _sharpness_and_brightness(view) if view.size else (0.0, 0.0)
    return Quality(
        face_px=min(face.box.width, face.box.height),
        sharpness=sharpness,
        brightness=brightness,
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        cut_off=1.0 - face.box.clipped(width, height).area / face.box.area,
        noise=_noise(crops or LevelCrops(picture, face)) if view.size else 0.0,
        grain=_grain(picture, face) if view.size else 0.0,
        blockiness=blockiness(luma, box) if view.size else 0.0,
    )


def refusals(quality: Quality, gates: QualityGates) -> tuple[str, ...]:
    """The reasons to refuse a face, the most fundamental first; empty if it can be scored."""
    checks = {
        FACE_TOO_SMALL: quality.face_px < gates.min_face_px,
        FACE_CUT_OFF: quality.cut_off > gates.max_cut_off,
        TOO_DARK: quality.brightness < gates.min_brightness,
        TOO_BRIGHT: quality.brightness > gates.max_brightness,
        TOO_NOISY: _is_noisy(quality, gates),
        TOO_COMPRESSED: gates.max_blockiness is not None and quality.blockiness > gates.max_blockiness,
        TOO_BLURRY: quality.sharpness < gates.min_sharpness,
        EXTREME_POSE: abs(quality.yaw_deg) > gates.max_yaw_deg
        or abs(quality.pitch_deg) > gates.max_pitch_deg
        or abs(quality.roll_deg) > gates.max_roll_deg,
    }
    return tuple(reason for reason, refused in checks.items() if refused)


def _is_noisy(quality: Quality, gates: QualityGates) -> bool:
    is_smooth = gates.sensor_grain is not None and quality.grain < gates.sensor_grain
    most = gates.max_smooth_noise if is_smooth else gates.max_noise
    return most is not None and quality.noise > most


def head_pose_deg(face: DetectedFace) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from the five landmarks.

    A scaled orthographic camera is fitted to an average head by least squares, and the nearest rotation is taken; this
    needs no focal length. Expect errors of about 10 degrees: enough to refuse extreme poses, not to measure poses.
    """
    points_52 = np.asarray(face.landmarks, dtype=np.float64)
    camera_23 = (_HEAD_PINV_45 @ points_52)[:3].T
    rotation = _nearest_rotation(camera_23)
    # The camera looks along +z; the head's nose direction is its -z axis.
    nose = -rotation[:, 2]
    yaw = math.degrees(math.atan2(nose[0], -nose[2]))
    pitch = math.degrees(math.asin(min(max(-nose[1], -1.0), 1.0)))
    roll = math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))
    return yaw, pitch, roll


def _nearest_rotation(camera_23: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation whose first two rows are closest to those of a scaled orthographic camera."""
    (a, b, c), (d, e, f) = _orthogonal(camera_23)
    rows_33 = np.empty((3, 3))
    rows_33[:2] = (a, b, c), (d, e, f)
    rows_33[2] = b * f - c * e, c * d - a * f, a * e - b * d  # NumPy's own cross product takes longer than the rest
    return rows_33


def _orthogonal(camera_23: NDArray[np.float64]) -> list[list[float]]:
    """The two orthogonal rows of length 1 that are closest to these: the inverse root of A A' times A.

    The root of a matrix M of 2 x 2 is (M + s I) / t with s = sqrt(det M) and t = sqrt(trace M + 2 s). NumPy's singular
    values give the same and take ten times as long; only where the rows are nearly one line they are needed.
    """
    (a, b, c), (d, e, f) = camera_23.tolist()
    p, q, r = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    s = math.sqrt(max(p * r - q * q, 0.0))
    if s <= _NEARLY_A_LINE * (p + r):
        left, _, right = np.linalg.svd(camera_23, full_matrices=False)
        return [[float(value) for value in row] for row in left @ right]
    # The inverse of (M + s I) / t, whose determinant is s.
    t = math.sqrt(p + r + 2 * s)
    u, v, w = (r + s) / (s * t), -q / (s * t), (p + s) / (s * t)
    return [[u * a + v * d, u * b + v * e, u * c + v * f], [v * a + w * d, v * b + w * e, v * c + w * f]]


def _sharpness_and_brightness(view: NDArray[np.float32]) -> tuple[float, float]:
    shrinks = min(view.shape) > _FACE_VIEW
    # In float: rounding to 8 bits adds noise, which makes a heavily blurred face look as sharp as a slightly soft one.
    size = (_FACE_VIEW, _FACE_VIEW)
    luma = cv2.resize(view, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    edges = np.asarray(cv2.Laplacian(luma, cv2.CV_32F), np.float32)
    quiet = quiet_power(edges, _QUIET_SHARE)
    variance = max(float(edges.var()) - _QUIET_TIMES * max(quiet - _QUIET_ORDINARY, 0.0), 0.0)
    return variance / (variance + _HALF_SHARP), float(luma.mean()) / 255


def _noise(crops: LevelCrops) -> float:
    return noise(luma_of(crops.get(_NOISE_MARGIN, _NOISE_VIEW)))


def _grain(picture: Picture, face: DetectedFace) -> float:
    square = crop_square(face, picture.shape[1], picture.shape[0], _NOISE_MARGIN)
    # Averaging areas divides what differs from pixel to pixel by the factor by which it shrinks a picture.
    return grain(picture, square.centre, square.side_px) * min(_NOISE_VIEW / square.side_px, 1.0)


def _surroundings(picture: Picture, box: Box) -> tuple[NDArray[np.float32], Box]:
    """Luma of the part of the picture around a box, and the box in that part.

    It begins at a multiple of eight pixels, so that the blocks of a coder lie where they lie in the whole picture.
    """
    height, width = picture.shape[:2]
    x, y = box.centre
    reach = _SURROUNDINGS * max(box.width, box.height)
    left, top = (max(int(start) // _GRID_PX * _GRID_PX, 0) for start in (x - reach, y - reach))
    right, bottom = min(math.ceil(x + reach), width), min(math.ceil(y + reach), height)
    if right <= left or bottom <= top:
        return np.zeros((0, 0), np.float32), box
    moved = Box(box.x1 - left, box.y1 - top, box.x2 - left, box.y2 - top)
    return luma_of(picture[top:bottom, left:right]), moved
