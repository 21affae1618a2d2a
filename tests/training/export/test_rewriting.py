"""Networks are written in the form that is fastest on processors, and say the same as before."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from liveness_core.runtime import OrtSession
from liveness_training.export.rewriting import for_processors, prelu_as_max, stored_in_half
from support.pictures import SHARED

RANDOM = np.random.default_rng(5)
IMAGE = RANDOM.normal(0, 1, (2, 3, 16, 16)).astype(np.float32)


def conv(name, given, out, inside, outside, *, depthwise=False, bias="bias"):
    """A convolution with its weights; every one has the same bias, as exporters write equal constants once."""
    group = inside if depthwise else 1
    weight = RANDOM.normal(0, 0.15, (outside, inside // group, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", [given, f"{name}_w", bias], [out], name=name, group=group, pads=[1, 1, 1, 1])
    return node, numpy_helper.from_array(weight, f"{name}_w")


def prelu(given, out, slope):
    return helper.make_node("PRelu", [given, f"{out}_s"], [out]), numpy_helper.from_array(slope, f"{out}_s")


def network(slope=None, shared=False):
    """(n, 3, 16, 16) to `a` (n, 13, 16, 16) where it is shared, and `z` (n, 13, 16, 16)."""
    slope = RANDOM.uniform(-0.5, 1.5, (13, 1, 1)).astype(np.float32) if slope is None else slope
    pairs = [
        conv("one", "image", "a", 3, 13),
        prelu("a", "b", slope),
        conv("two", "b", "c", 13, 13, depthwise=True),
        prelu("c", "d", slope),
        conv("three", "d", "e", 13, 13),
        conv("four", "e", "f", 13, 13),
    ]
    nodes = [node for node, _ in pairs] + [helper.make_node("Add", ["e", "f"], ["z"])]
    constants = [value for _, value in pairs] + [numpy_helper.from_array(RANDOM.normal(0, 1, 13).astype("f4"), "bias")]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 13, 16, 16]) for name in ["z", "a"][: 1 + shared]
    ]
    graph = helper.make_graph(nodes, "n", [given], made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def outputs(content):
    session = OrtSession(content)
    return session.run({"image": IMAGE}, [output.name for output in session.outputs])


def depths(content):
    """Channels of each convolution's result."""
    graph = onnx.load_from_string(content).graph
    shapes = {each.name: each.dims[0] for each in graph.initializer}
    return [shapes[node.input[1]] for node in graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("shared", [False, True], ids=["inside", "shown"])
def test_blocks_are_filled_and_no_prelu_is_left_with_the_same_outputs(shared):
    content = network(shared=shared)
    made = for_processors(content)
    for one, other in zip(outputs(content), outputs(made), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)
    kinds = {node.op_type for node in onnx.load_from_string(made).graph.node}
    assert "PRelu" not in kinds
    # What the caller sees, and what is added up, keeps its 13 channels; what convolutions alone see has two blocks.
    assert set(depths(made)) == ({13} if shared else {13, 16})


def test_a_prelu_whose_channels_are_not_known_is_left_alone():
    content = network(slope=np.full((1, 1, 1), 0.3, np.float32))
    made = for_processors(content)
    np.testing.assert_allclose(outputs(made)[0], outputs(content)[0], atol=1e-5)
    assert [node.op_type for node in onnx.load_from_string(made).graph.node].count("PRelu") == 2


def test_slopes_up_to_one_become_a_maximum_to_the_last_bit():
    content = network(slope=RANDOM.uniform(-0.5, 1.0, (13, 1, 1)).astype(np.float32))
    made = prelu_as_max(content)
    np.testing.assert_array_equal(outputs(made)[0], outputs(content)[0])
    assert "PRelu" not in {node.op_type for node in onnx.load_from_string(made).graph.node}
    steep = network(slope=np.full((13, 1, 1), 1.25, np.float32))
    np.testing.assert_array_equal(outputs(prelu_as_max(steep))[0], outputs(steep)[0])


def test_constants_stored_in_half_take_half_the_room():
    content = network()
    made = stored_in_half(content)
    floats = sum(len(each.raw_data) for each in onnx.load_from_string(content).graph.initializer)
    assert sum(len(each.raw_data) for each in onnx.load_from_string(made).graph.initializer) < 0.6 * floats
    np.testing.assert_allclose(outputs(made)[0], outputs(content)[0], atol=0.05)


def test_a_published_network_leaves_blocks_at_its_ends_alone(tmp_path):
    peers = SHARED / "peers"
    if not peers.is_dir():
        pytest.skip("published networks (../shared/peers) are not on this machine")
    import onnxruntime as ort

    def leaves(content):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return sum(node.op_type == "ReorderOutput" for node in onnx.load(tmp_path / "optimised.onnx").graph.node)

    content = (peers / "face_antispoof_minifas_98.20_128x128.onnx").read_bytes()
    if not leaves(content):
        pytest.skip("no layout in blocks on this processor")
    assert leaves(for_processors(content)) <= 12 < 20 < leaves(content)
