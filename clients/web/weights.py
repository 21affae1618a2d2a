"""Write YuNet's weights for the browser: `python clients/web/weights.py OUT`.

The file holds, for each convolution in the order of the network, its weights and its biases as little-endian float16,
one after the other and nothing else; `src/detector.ts` knows the shapes. It needs the package `onnx`.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

_NETWORK = "core/liveness_core/detection/yunet_weights/face_detection_yunet_2026may.onnx"


def packed(network: Path) -> bytes:
    """The weights of a YuNet as one run of float16."""
    graph = onnx.load(str(network)).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    arrays = [values[name].astype("<f2") for node in convolutions for name in node.input[1:]]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a weight is too large for float16")
    return b"".join(array.tobytes() for array in arrays)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(packed(Path(__file__).resolve().parents[2] / _NETWORK))
