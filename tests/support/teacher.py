"""A made-up teacher: a network of the form that `--teacher` takes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def network(path: Path, weights, *, outputs=1):
    """Logits: a weighted mean over the picture of each of its three channels."""
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])
    made = [helper.make_tensor_value_info(f"logits{n or ''}", TensorProto.FLOAT, ["n", 3]) for n in range(outputs)]
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0)]
    nodes += [helper.make_node("MatMul", ["mean", "weights"], [value.name]) for value in made]
    matrix = helper.make_tensor("weights", TensorProto.FLOAT, [3, 3], np.asarray(weights, np.float32).ravel())
    graph = helper.make_graph(nodes, "teacher", [given], made, [matrix])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path
