"""The same network in the form that ONNX Runtime runs fastest on a processor.

ONNX Runtime keeps convolutions in blocks of 8 or 16 channels from one to the next. It leaves that layout for each
depthwise convolution whose channels are not whole blocks, and for each PRelu. The published networks have 13, 103, 231
channels, and a PRelu after nearly every convolution: without these changes they take 1.6 times as long.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

# C channels

_BLOCK = 8
_ROOM_IN_HALF = 1024
"""Constants of fewer numbers are not worth a node."""

Constants = dict[str, NDArray[np.float32]]
Readers = dict[str, list[onnx.NodeProto]]
"""Tensor -> nodes that take it."""


@dataclass(frozen=True, slots=True)
class _Bent:
    """A PRelu that is computed by those who read it."""

    given: str
    positive: str
    slope_C: NDArray[np.float32]


def for_processors(network: bytes) -> bytes:
    """The network with whole blocks of channels and without PRelu; the same outputs but for rounding (1e-6)."""
    model = onnx.load_from_string(network)
    constants: Constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    readers = _readers(model.graph)
    _fill_blocks(model.graph, constants, readers)
    nodes = _without_prelu(model.graph, constants, readers)
    return _rebuilt(model, nodes, constants)


def prelu_as_max(network: bytes) -> bytes:
    """The network whose PRelus with slopes of at most 1 are max(x, slope * x), the same to the last bit: elementwise, a
    GPU fuses it, and where it is not in blocks a processor takes half the time.
    """
    model = onnx.load_from_string(network)
    slopes = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "PRelu" and node.input[1] in slopes and slopes[node.input[1]].max() <= 1:
            product = f"{node.output[0]}_scaled"
            nodes.append(helper.make_node("Mul", list(node.input), [product], name=f"{product}_mul"))
            nodes.append(helper.make_node("Max", [node.input[0], product], list(node.output), name=f"{product}_max"))
        else:
            nodes.append(node)
    return _rebuilt(model, nodes, slopes)


def stored_in_half(network: bytes) -> bytes:
    """The network with its large float32 constants stored as float16: half the size. They are widened when it is
    loaded, so it computes in float32 and takes the same time.
    """
    model = onnx.load_from_string(network)
    kept, widening = [], []
    for each in model.graph.initializer:
        value = numpy_helper.to_array(each)
        if value.dtype != np.float32 or value.size < _ROOM_IN_HALF or np.abs(value).max() > np.finfo(np.float16).max:
            kept.append(each)
            continue
        half = f"{each.name}_half"
        kept.append(numpy_helper.from_array(value.astype(np.float16), half))
        widening.append(helper.make_node("Cast", [half], [each.name], name=f"{half}_cast", to=onnx.TensorProto.FLOAT))
    nodes = [*widening, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _fill_blocks(graph: onnx.GraphProto, constants: Constants, readers: Readers) -> None:
    """Give convolutions channels of zeros up to the next whole block, where only convolutions and PRelus see them."""
    shown = {each.name for each in graph.output}
    added: dict[str, int] = {}

    def widen(node: onnx.NodeProto, place: int, axis: int, more: int) -> None:
        """Put zeros at the end of an axis of a node's own copy of a constant."""
        if not more or len(node.input) <= place or not node.input[place]:
            return
        value = constants[node.input[place]]
        room = [(0, 0)] * value.ndim
        room[axis] = (0, more)
        node.input[place] = f"{node.output[0]}_filled_{place}"
        constants[node.input[place]] = np.pad(value, room)

    for node in graph.node:
        more = added.get(node.input[0], 0) if node.input else 0
        if node.op_type == "PRelu":
            widen(node, 1, -3, more)
        elif node.op_type == "Conv" and node.input[1] in constants:
            if _group(node) == 1:
                widen(node, 1, 1, more)
                rows = len(constants[node.input[1]])
                more = -rows % _BLOCK if _hides(node.output[0], constants, readers, shown) else 0
            widen(node, 1, 0, more)
            widen(node, 2, 0, more)
            for attribute in node.attribute:
                if attribute.name == "group" and attribute.i > 1:
                    attribute.i += more
        else:
            continue
        added[node.output[0]] = more


def _hides(tensor: str, constants: Constants, readers: Readers, shown: set[str]) -> bool:
    """Whether more channels of zeros in a tensor are seen by nothing but convolutions that can be given weights."""
    if tensor in shown:
        return False
    for node in readers.get(tensor, []):
        if node.op_type == "PRelu":
            fits = _slopes(node, constants) is not None
        else:
            fits = node.op_type == "Conv" and node.input[0] == tensor and node.input[1] in constants
            fits = fits and (len(node.input) < 3 or node.input[2] in {*constants, ""})
            fits = fits and _group(node) in (1, len(constants[node.input[1]]))
        through = node.op_type == "PRelu" or _group(node) > 1
        if not fits or (through and not _hides(node.output[0], constants, readers, shown)):
            return False
    return True


def _without_prelu(graph: onnx.GraphProto, constants: Constants, readers: Readers) -> list[onnx.NodeProto]:
    """PRelu of x with the slopes s is s * x + (1 - s) * relu(x), which convolutions can compute in blocks.

    Where a depthwise convolution alone reads it, two of these, of x and of relu(x), do so on the way. Otherwise two
    depthwise convolutions of one pixel make it.
    """
    shown = {each.name for each in graph.output}
    nodes: list[onnx.NodeProto] = []
    bent: dict[str, _Bent] = {}
    for node in graph.node:
        result = node.output[0] if node.output else ""
        if node.op_type == "PRelu" and (slope_C := _slopes(node, constants)) is not None:
            one = _Bent(node.input[0], f"{result}_positive", slope_C)
            nodes.append(helper.make_node("Relu", [one.given], [one.positive], name=one.positive))
            following = [] if result in shown else readers.get(result, [])
            if len(following) == 1 and _is_depthwise(following[0], constants, len(slope_C)):
                bent[result] = one
                continue
            pixel = helper.make_node("Conv", [result, ""], [result], kernel_shape=[1, 1], group=len(slope_C))
            nodes += _halves(pixel, one, np.ones((len(slope_C), 1, 1, 1), np.float32), constants)
        elif node.op_type == "Conv" and node.input[0] in bent:
            nodes += _halves(node, bent[node.input[0]], constants[node.input[1]], constants)
        else:
            nodes.append(node)
    return nodes


def _halves(
    node: onnx.NodeProto, bent: _Bent, weight: NDArray[np.float32], constants: Constants
) -> list[onnx.NodeProto]:
    """A depthwise convolution of PRelu(x), as the sum of one of relu(x) and one of x."""
    result = node.output[0]
    made = []
    for ending, source, factor_C, bias in (
        ("of_positive", bent.positive, 1 - bent.slope_C, []),
        ("of_all", bent.given, bent.slope_C, list(node.input[2:])),
    ):
        part = onnx.NodeProto()
        part.CopyFrom(node)
        part.name = f"{result}_{ending}"
        constants[f"{part.name}_weight"] = (weight * factor_C[:, None, None, None]).astype(np.float32)
        part.input[:] = [source, f"{part.name}_weight", *bias]
        part.output[:] = [part.name]
        made.append(part)
    total = helper.make_node("Add", [part.name for part in made], [result], name=f"{result}_sum")
    return [*made, total]


def _slopes(node: onnx.NodeProto, constants: Constants) -> NDArray[np.float32] | None:
    """The slopes of a PRelu, shape (C,), if it is known to have one for each channel of a picture."""
    value = constants.get(node.input[1])
    if value is None or value.ndim < 3 or value.size < 2 or value.size != value.shape[-3]:
        return None
    return value.reshape(-1)


def _is_depthwise(node: onnx.NodeProto, constants: Constants, channels: int) -> bool:
    known = node.op_type == "Conv" and node.input[1] in constants
    return known and _group(node) == channels == len(constants[node.input[1]])


def _group(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _readers(graph: onnx.GraphProto) -> Readers:
    readers: Readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _rebuilt(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: Mapping[str, NDArray[np.float32]]
) -> bytes:
    """The model with other nodes, and the constants that these read."""
    read = {name for node in nodes for name in node.input}
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(constants[name], name) for name in constants if name in read)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
