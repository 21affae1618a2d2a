"""The simplest service that answers the same question: python simple_service.py PORT PEERS

FastAPI, YuNet through OpenCV, the two networks of Silent-Face-Anti-Spoofing in PEERS by ONNX Runtime; no limits, no
checks.
"""

import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import Body, FastAPI

YUNET = Path(__file__).parents[2] / "core/liveness_core/detection/yunet_weights/face_detection_yunet_2026may.onnx"
app, local, options = FastAPI(), threading.local(), ort.SessionOptions()
options.intra_op_num_threads = 1  # with its default, threads of one request take the cores from the others
cv2.setNumThreads(1)
NETWORKS = [
    (scale, ort.InferenceSession(Path(sys.argv[2]) / f"silent_face_{scale}_80x80.onnx", options))
    for scale in (2.7, 4.0)
]


def crop(picture, x, y, w, h, scale):
    scale = min(scale, (picture.shape[1] - 1) / w, (picture.shape[0] - 1) / h)
    left = min(max(x + w / 2 - w * scale / 2, 0), picture.shape[1] - w * scale)
    top = min(max(y + h / 2 - h * scale / 2, 0), picture.shape[0] - h * scale)
    return cv2.resize(picture[int(top) : int(top + h * scale), int(left) : int(left + w * scale)], (80, 80))


@app.post("/liveness")
def liveness(photo: bytes = Body(media_type="image/jpeg")):
    picture = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    if not hasattr(local, "detector"):
        local.detector = cv2.FaceDetectorYN.create(str(YUNET), "", (320, 320), 0.6)
    local.detector.setInputSize(picture.shape[1::-1])
    _, faces = local.detector.detect(picture)
    if faces is None:
        return {"live": None}
    x, y, w, h = max(faces, key=lambda face: face[2] * face[3])[:4]
    logits = [
        network.run(None, {"input": crop(picture, x, y, w, h, scale).transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        for scale, network in NETWORKS
    ]
    scores = [float(np.exp(each[1]) / np.exp(each).sum()) for each in logits]
    return {"live": sum(scores) / 2}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
