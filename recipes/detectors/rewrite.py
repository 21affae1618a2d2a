"""Rewrite the detectors' networks so that ONNX Runtime computes the same with less work.

    python recipes/detectors/rewrite.py

It reads the released networks beside `liveness_core.detection` and writes `yunet_rewritten.onnx` and
`onet_rewritten.onnx` there. No weight is trained or rounded; `tests/core/detection/test_rewritten.py` shows that the
outputs agree. It needs the package `onnx`.

ONNX Runtime computes convolutions in blocks of 8 or 16 channels on x86. Layers that do not fit take their input out of
the blocks and put their output back.

YuNet: its four heads have 1, 1, 4 and 10 channels, so none fits. Together they have 16. Here they are one head, and its
three levels one output. The sigmoids are left to the caller, who needs them for a few cells.

O-Net: PReLU does not fit. prelu(x) = x + (1 - a) relu(-x), which is two convolutions of each channel by itself.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import liveness_core.detection

FOLDER = Path(liveness_core.detection.__file__).parent
YUNET = FOLDER / "yunet_weights" / "face_detection_yunet_2026may.onnx"
ONET = FOLDER / "mtcnn_weights" / "onet.onnx"
RELEASED = {
    YUNET: "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    ONET: "a42f0cbde62f8032ccc3299fd989a9909c8b185a72a360e247c6f953af366efd",
}
"""SHA-256 of the files as they were released."""
_HEADS = ("cls", "obj", "bbox", "kps")
_LEVELS = 3


def merged_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    """YuNet with one head: the output `rows`, shape (1, 16, cells), has the logits of a face and of an object, the box
    and the points of each cell, of the three levels one after the other.
    """
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    read = {node.input[1]: node for node in graph.node if node.op_type == "Conv"}
    names = [f"bbox_head.multi_level_{head}.{level}.conv1.weight" for head in _HEADS for level in range(_LEVELS)]
    heads = {made_by[read[name].output[0]].name for name in names}
    body = _needed([read[name].input[0] for name in names], made_by)
    nodes = [node for node in graph.node if node.name in body and node.name not in heads]
    added: dict[str, np.ndarray] = {}
    for level in range(_LEVELS):
        of_level = [f"bbox_head.multi_level_{head}.{level}" for head in _HEADS]
        source = {read[f"{name}.conv1.weight"].input[0] for name in of_level}
        assert len(source) == 1, "the heads of a level see the same features"
        for number, (kernel, options) in enumerate(
            ((1, {}), (3, {"group": 16, "pads": [1, 1, 1, 1]})),
            start=1,
        ):
            for part in ("weight", "bias"):
                added[f"head.{level}.conv{number}.{part}"] = np.concatenate(
                    [values[f"{name}.conv{number}.{part}"] for name in of_level]
                )
            nodes.append(
                helper.make_node(
                    "Conv",
                    [*(source if number == 1 else [f"head.{level}.1"]), *_pair(f"head.{level}.conv{number}")],
                    [f"head.{level}.{number}"],
                    kernel_shape=[kernel, kernel],
                    **options,
                )
            )
        nodes.append(helper.make_node("Reshape", [f"head.{level}.2", "cells"], [f"head.{level}"]))
    added["cells"] = np.asarray([1, 16, -1], np.int64)
    nodes.append(helper.make_node("Concat", [f"head.{level}" for level in range(_LEVELS)], ["rows"], axis=2))
    return _model(model, nodes, values | added, [("rows", [1, 16, "cells"])])


def without_prelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """O-Net with convolutions in place of the PReLU of its feature maps."""
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        slopes = values[node.input[1]] if node.op_type == "PRelu" else None
        if slopes is None or slopes.ndim != 3:
            nodes.append(node)
            continue
        channels, name = len(slopes), node.output[0]
        values[f"{name}.minus"] = np.full((channels, 1, 1, 1), -1, np.float32)
        values[f"{name}.rest"] = (1 - slopes.astype(np.float64)).astype(np.float32).reshape(-1, 1, 1, 1)
        single = {"kernel_shape": [1, 1], "group": channels}
        nodes += [
            helper.make_node("Conv", [node.input[0], f"{name}.minus"], [f"{name}.a"], **single),
            helper.make_node("Relu", [f"{name}.a"], [f"{name}.b"]),
            helper.make_node("Conv", [f"{name}.b", f"{name}.rest"], [f"{name}.c"], **single),
            helper.make_node("Add", [f"{name}.c", node.input[0]], [name]),
        ]
    outputs = [(each.name, ["images", each.type.tensor_type.shape.dim[1].dim_value]) for each in graph.output]
    return _model(model, nodes, values, outputs)


def released(path: Path) -> onnx.ModelProto:
    """The network in a file.

    Raises:
        ValueError: it is not the file that was released.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != RELEASED[path]:
        raise ValueError(f"{path} is not the file that was released")
    return onnx.load_from_string(content)


def _needed(names: list[str], made_by: dict[str, onnx.NodeProto]) -> set[str]:
    """The names of the nodes that lead to these tensors."""
    found: set[str] = set()
    while names:
        node = made_by.get(names.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            names += node.input
    return found


def _pair(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def _model(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    values: dict[str, np.ndarray],
    outputs: list[tuple[str, list[int | str]]],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        list(model.graph.input),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items() if name in used],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    onnx.save(merged_heads(released(YUNET)), str(YUNET.with_name("yunet_rewritten.onnx")))
    onnx.save(without_prelu(released(ONET)), str(ONET.with_name("onet_rewritten.onnx")))
