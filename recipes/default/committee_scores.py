"""Score every face of some data with the committee's published members, and write log-odds of live to a file.

    python recipes/default/committee_scores.py DATA PEERS OUT.npz [--grey]

DATA is a folder with an index.csv; PEERS holds the ONNX files of the published networks. Faces are found and cut as
the service does it, and each network sees its own view. `--grey` takes the colours out of the pictures first. The
scores of our own members are in their runs' `scores.csv`; `committee.py` reads both.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.types import Picture
from liveness_core.views import View
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import read_index

_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_SILENT = {
    "rule": "upright_box",
    "size": 80,
    "resampling": "area_bilinear",
    "colour_order": "BGR",
    "max_value": 255,
    **_PLAIN,
}
MEMBERS = {
    "silent_face_2_7": ("silent_face_2.7_80x80.onnx", View.model_validate({"margin": 2.7, **_SILENT})),
    "silent_face_4_0": ("silent_face_4.0_80x80.onnx", View.model_validate({"margin": 4.0, **_SILENT})),
    "face_antispoof": (
        "face_antispoof_minifas_98.20_128x128.onnx",
        View.model_validate(
            {"rule": "upright_square", "margin": 1.5, "size": 128, "resampling": "area_lanczos", **_PLAIN}
        ),
    ),
}
"""Name -> file and view, as the networks were trained."""
_BATCH = 32


def log_odds(name: str, outputs_NC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-odds of live from a published network's outputs, shape (N,)."""
    x_NC = outputs_NC.astype(np.float64)
    if name == "face_antispoof":  # real, spoof
        return np.asarray(x_NC[:, 0] - x_NC[:, 1])
    return np.asarray(x_NC[:, 1] - np.logaddexp(x_NC[:, 0], x_NC[:, 2]))  # the second of three classes is live


def main() -> None:
    """Score and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("peers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--grey", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = create_detector(DetectorSpec())
    sessions = {
        name: OrtSession((options.peers / file).read_bytes(), RuntimeOptions("cpu"))
        for name, (file, _) in MEMBERS.items()
    }
    paths: list[str] = []
    waiting: dict[str, list[Picture]] = {name: [] for name in MEMBERS}
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEMBERS}

    def score_waiting() -> None:
        for name, crops in waiting.items():
            if crops:
                session, view = sessions[name], MEMBERS[name][1]
                inputs = {session.inputs[0].name: view.to_tensor(crops)}
                found[name].append(log_odds(name, session.run(inputs, [session.outputs[0].name])[0]))
                crops.clear()

    for sample in read_index(options.data):
        picture = read_picture(options.data / sample.path)
        if faces := detector.detect(picture):
            if options.grey:
                grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
                picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
            paths.append(sample.path)
            for name, (_, view) in MEMBERS.items():
                waiting[name].append(view.cut(picture, faces[0]))
            if len(paths) % _BATCH == 0:
                score_waiting()
    score_waiting()
    np.savez(options.out, path=np.array(paths), **{name: np.concatenate(parts) for name, parts in found.items()})


if __name__ == "__main__":
    main()
