"""O-Net, the third network of MTCNN: it looks at one window and says whether and where exactly a face is in it.

MTCNN runs it on the windows of its other two networks, `yunet_onet` on those of YuNet.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.detection.boxes import refine
from liveness_core.runtime import OrtSession
from liveness_core.types import Picture

# N windows; boxes_N5 rows are x1, y1, x2, y2, confidence

WEIGHTS = ("mtcnn_weights", "onet.onnx", "a42f0cbde62f8032ccc3299fd989a9909c8b185a72a360e247c6f953af366efd")
"""Folder, file and SHA-256."""
REWRITTEN = ("mtcnn_weights", "onet_rewritten.onnx", "1af72707ac1a51ee81a77c83cbc475d9b08fa4f730627515b1deb401bcdc0318")
"""The same weights in a graph that takes half the time; its outputs differ by the rounding of floats."""
SIDE = 48
"""Side in pixels at which it sees a window."""


@dataclass(frozen=True, slots=True)
class Located:
    """What O-Net says of N windows."""

    boxes_N5: NDArray[np.float32]
    """The boxes of the faces, with O-Net's confidence."""
    points_N52: NDArray[np.float32]
    """The landmarks, x and y: left eye, right eye, nose tip, left and right mouth corner."""


def locate(session: OrtSession, picture: Picture, windows_N5: NDArray[np.float32], *, quick: bool = False) -> Located:
    """Look at windows of a picture.

    Args:
        session: O-Net.
        picture: shape (H, W, 3).
        windows_N5: at least one; a window that is not square is stretched to one.
        quick: see `cut_windows`.
    """
    batch = cut_windows(picture, windows_N5, SIDE, quick=quick)
    landmarks_N10, offsets_N4, probabilities_N2 = run(session, batch)
    # Landmarks are given as shares of the window, all five x before all five y.
    sides_N2 = windows_N5[:, 2:4] - windows_N5[:, 0:2]
    points_N25 = landmarks_N10.reshape(-1, 2, 5) * sides_N2[:, :, None] + windows_N5[:, 0:2, None]
    boxes_N5 = refine(windows_N5, offsets_N4)
    boxes_N5[:, 4] = probabilities_N2[:, 1]
    return Located(boxes_N5, points_N25.transpose(0, 2, 1))


def run(session: OrtSession, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Run one of MTCNN's networks; returns its outputs in the order in which the file has them."""
    return session.run({session.inputs[0].name: batch}, [output.name for output in session.outputs])


def cut_windows(
    picture: Picture, boxes_N5: NDArray[np.float32], size: int, *, quick: bool = False
) -> NDArray[np.float32]:
    """Cut out windows and resize them to `size`. Outside the picture they are black, as in the networks' training.

    With `quick`, a window of many pixels is thinned out to two to three times `size` before its areas are averaged:
    a network that looks at 48 pixels sees no difference, and the time no longer grows with the picture.
    """
    height, width = picture.shape[:2]
    batch = np.zeros((len(boxes_N5), size, size, 3), np.uint8)
    corners_N4 = np.rint(boxes_N5[:, :4]).astype(int)
    corners_N4[:, 2:] = np.maximum(corners_N4[:, 2:], corners_N4[:, :2] + 1)
    for row, (x1, y1, x2, y2) in enumerate(corners_N4.tolist()):
        step = max(min(x2 - x1, y2 - y1) // (2 * size), 1) if quick else 1
        inside = picture[max(y1, 0) : min(y2, height) : step, max(x1, 0) : min(x2, width) : step]
        if inside.size == 0:
            continue
        if inside.shape[:2] != (-(-(y2 - y1) // step), -(-(x2 - x1) // step)):
            inside = cv2.copyMakeBorder(
                inside,
                max(-y1, 0) // step,
                max(y2 - height, 0) // step,
                max(-x1, 0) // step,
                max(x2 - width, 0) // step,
                cv2.BORDER_CONSTANT,
                value=(0, 0, 0),
            ).astype(np.uint8, copy=False)
        cv2.resize(inside, (size, size), dst=batch[row], interpolation=cv2.INTER_AREA)
    return normalised(batch)


def normalised(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Turn pixels x of shape (…, H, W, 3) into (x - 127.5) / 128 of shape (…, 3, H, W)."""
    planes = np.empty((*pixels.shape[:-3], 3, *pixels.shape[-3:-1]), np.float32)
    planes[...] = np.moveaxis(pixels, -1, -3)
    planes -= 127.5
    planes *= 0.0078125
    return planes
