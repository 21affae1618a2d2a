"""The reference: the two networks of Silent-Face-Anti-Spoofing, with their own crop rule."""

from pathlib import Path

import cv2
import numpy as np

from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Box, Picture

_LIVE = 1


class SilentFace:
    """Two MiniFASNets as ONNX files named `silent_face_FACTOR_80x80.onnx`.

    Crop: the box enlarged about its centre by the factor, which is reduced until the crop fits the picture, shifted
    inside it, resized to 80x80. Input BGR, 0 to 255. Score: mean over the networks of the probability of the second
    class.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("silent_face_*_80x80.onnx"))
        if len(files) != 2:
            raise SystemExit(f"{folder} does not hold the reference's two networks, silent_face_*_80x80.onnx")
        self._networks = [
            (float(file.name.split("_")[2]), OrtSession(file.read_bytes(), RuntimeOptions("cpu"))) for file in files
        ]

    def score(self, picture: Picture, box: Box) -> float:
        """Probability of live for a face of an RGB picture."""
        scores = []
        for factor, session in self._networks:
            crop = _crop(picture, box, factor)[..., ::-1]
            batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
            (logits,) = session.run({session.inputs[0].name: batch}, [session.outputs[0].name])
            odds = np.exp(logits[0] - logits[0].max())
            scores.append(float(odds[_LIVE] / odds.sum()))
        return sum(scores) / len(scores)


def _crop(picture: Picture, box: Box, factor: float) -> Picture:
    height, width = picture.shape[:2]
    factor = min(factor, (height - 1) / box.height, (width - 1) / box.width)
    new_width, new_height = box.width * factor, box.height * factor
    x, y = box.centre
    left = min(max(x - new_width / 2, 0), width - 1 - new_width)
    top = min(max(y - new_height / 2, 0), height - 1 - new_height)
    part = picture[int(top) : int(top + new_height) + 1, int(left) : int(left + new_width) + 1]
    return cv2.resize(part, (80, 80)).astype(np.uint8, copy=False)
