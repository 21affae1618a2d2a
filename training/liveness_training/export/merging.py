"""Members of a committee become one encoder, and their weighted sum its classifier.

The encoder's embedding has the calibrated log-odds of the M members first, in their order, then the features of those
that have some. So the classifier is exact and small, and a temporal head can take as much of the embedding as it needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.compose import add_prefix

from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.views import View
from liveness_training.export.committee_spec import SpecError
from liveness_training.export.members import FEATURES, INPUT, MAP, OPSET, OUTPUT, Member

_IR_VERSION = 10
_GREY_FROM, _GREY_TO = 0.01, 0.03
"""Mean difference of a pixel's largest and smallest colour, in [0, 1]: below the first a crop is grey, above the second
it is in colour."""
_EACH_FOURTH = {"starts": [0, 0], "ends": [1 << 20, 1 << 20], "axes": [2, 3], "steps": [4, 4]}
"""Which rows and columns are looked at for that: enough for a mean, and a sixteenth of the time."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The networks of a committee."""

    views: tuple[View, ...]
    """The inputs of the encoder. Members that take the same tensor share one."""
    inputs: tuple[str, ...]
    """Which of them each member takes, by name."""
    encoder: bytes
    classifier: bytes


@dataclass(slots=True)
class _Graph:
    """A graph that grows; each method adds a node and gives the name of its result.

    A network's own tensors are named MEMBER/…, and what is computed from them MEMBER:…
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_{kind}", **attributes))
        return name

    def constant(self, name: str, value: object, kind: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def network(self, member: Member, given: str) -> None:
        """The member's own nodes; its tensors get its name as a prefix, and its input is that of its view."""
        graph = add_prefix(onnx.load_from_string(member.network), f"{member.spec.name}/").graph
        own = f"{member.spec.name}/{INPUT}"
        for node in graph.node:
            node.input[:] = [given if name == own else name for name in node.input]
        self.nodes.extend(graph.node)
        self.constants.extend(graph.initializer)


def merge(members: Sequence[Member], offset: float) -> Merged:
    """One encoder and one classifier of the members.

    Args:
        members: all in the precision that they are to have.
        offset: added to the weighted sum.

    Raises:
        SpecError: heat maps would lie on several views.
    """
    views, places = _views(members)
    graph = _Graph()
    calibrated, features, maps, colour = [], [], [], dict[str, str]()
    outputs = []
    for member, place in zip(members, places, strict=True):
        view, name = views[place], member.spec.name
        graph.network(member, view.name)
        if member.spec.grey is not None and view.name not in colour:
            colour[view.name] = _colour(graph, view)
        raw = _log_odds(graph, member)
        line = _line(graph, member, colour.get(view.name, ""))
        calibrated.append(_limited(graph, member, _applied(graph, f"{name}:calibrated", raw, line)))
        if member.has_features:
            features.append(f"{name}/{FEATURES}")
        if member.has_map:
            maps.append(_map(graph, member, line))
    graph.node("Concat", [*calibrated, *features], "embedding", axis=1)
    outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", "D"]))
    if maps:
        summed = maps[0] if len(maps) == 1 else graph.node("Sum", maps, "maps")
        graph.node("Squeeze", [summed, graph.constant("one_channel", [1], np.int64)], "activation")
        outputs.append(helper.make_tensor_value_info("activation", TensorProto.FLOAT, ["N", "h", "w"]))
    inputs = [
        helper.make_tensor_value_info(view.name, TensorProto.FLOAT, ["N", 3, view.size, view.size]) for view in views
    ]
    encoder = _model(graph, "committee", inputs, outputs)
    taken = tuple(views[place].name for place in places)
    return Merged(tuple(views), taken, encoder, _classifier(members, offset, _depth(encoder)))


def _views(members: Sequence[Member]) -> tuple[list[View], list[int]]:
    """The different views, and which of them each member takes."""
    views: list[View] = []
    places = []
    for member in members:
        plain = member.view.model_copy(update={"name": "view", "heatmap": False})
        same = (
            i for i, view in enumerate(views) if view.model_copy(update={"name": "view", "heatmap": False}) == plain
        )
        place = next(same, len(views))
        if place == len(views):
            views.append(plain.model_copy(update={"name": f"view_{place}"}))
        if member.has_map:
            views[place] = views[place].model_copy(update={"heatmap": True})
        places.append(place)
    if sum(view.heatmap for view in views) > 1:
        raise SpecError("heatmap: members of different views cannot be shown on one heat map: choose one of them")
    return views, places


def _log_odds(graph: _Graph, member: Member) -> str:
    """Log-odds of live of a network, shape (N, 1)."""
    name, rule = member.spec.name, member.log_odds
    weights = np.asarray(rule.weights, np.float32)[:, None]
    taken = f"{name}/{OUTPUT}"
    if rule.softmax:
        ratios = []
        for one in np.flatnonzero(weights).tolist():
            others = [index for index in range(len(weights)) if index != one]
            own = graph.node(
                "Gather", [taken, graph.constant(f"{name}:at_{one}", [one], np.int64)], f"{name}:z_{one}", axis=1
            )
            rest = graph.node(
                "Gather", [taken, graph.constant(f"{name}:but_{one}", others, np.int64)], f"{name}:rest_{one}", axis=1
            )
            axis = graph.constant(f"{name}:axis_{one}", [1], np.int64)
            rest = graph.node("ReduceLogSumExp", [rest, axis], f"{name}:sum_{one}", keepdims=1)
            ratios.append(graph.node("Sub", [own, rest], f"{name}:ratio_{one}"))
        taken = graph.node("Concat", ratios, f"{name}:ratios", axis=1)
        weights = weights[np.flatnonzero(weights)]
    constants = graph.constant(f"{name}:weights", weights), graph.constant(f"{name}:bias", [rule.offset])
    return graph.node("Gemm", [taken, *constants], f"{name}:log_odds")


def _colour(graph: _Graph, view: View) -> str:
    """How much colour a crop has, from 0 for a grey one to 1, shape (N, 1).

    It is judged by the mean, over pixels of every fourth row and column, of the largest minus the smallest colour.
    """
    name = f"{view.name}:colour"
    bounds = [graph.constant(f"{name}:{part}", value, np.int64) for part, value in _EACH_FOURTH.items()]
    pixels = graph.node("Slice", [view.name, *bounds], f"{name}:some")
    if len({*view.std}) > 1 or len({*view.mean}) > 1:  # otherwise all three colours are scaled and shifted alike
        scale, shift = (
            np.asarray(each, np.float32).reshape(1, 3, 1, 1) / view.std[0] for each in (view.std, view.mean)
        )
        pixels = graph.node("Mul", [pixels, graph.constant(f"{name}:std", scale)], f"{name}:scaled")
        pixels = graph.node("Add", [pixels, graph.constant(f"{name}:mean", shift)], f"{name}:pixels")
    channel = graph.constant(f"{name}:channel", [1], np.int64)
    area = graph.constant(f"{name}:area", [1, 2], np.int64)
    most = graph.node("ReduceMax", [pixels, channel], f"{name}:most", keepdims=0)
    least = graph.node("ReduceMin", [pixels, channel], f"{name}:least", keepdims=0)
    spread = graph.node("Sub", [most, least], f"{name}:spread")
    mean = graph.node("ReduceMean", [spread, area], f"{name}:mean_spread", keepdims=0)
    mean = graph.node("Unsqueeze", [mean, channel], f"{name}:mean_1")
    slope = view.std[0] / view.max_value / (_GREY_TO - _GREY_FROM)
    share = graph.node("Mul", [mean, graph.constant(f"{name}:slope", slope)], f"{name}:above")
    offset = graph.constant(f"{name}:offset", -_GREY_FROM / (_GREY_TO - _GREY_FROM))
    share = graph.node("Add", [share, offset], f"{name}:share")
    return graph.node("Clip", [share, graph.constant(f"{name}:0", 0.0), graph.constant(f"{name}:1", 1.0)], name)


def _line(graph: _Graph, member: Member, colour: str) -> tuple[str, str]:
    """Names of slope and offset of a member's calibration: constants, or of shape (N, 1) where colour decides."""
    name, coloured, grey = member.spec.name, member.spec.calibration, member.spec.grey
    if grey is None:
        return graph.constant(f"{name}:slope", coloured.slope), graph.constant(f"{name}:offset", coloured.offset)

    def mixed(what: str, at_grey: float, at_colour: float) -> str:
        step = graph.constant(f"{name}:{what}_step", at_colour - at_grey)
        step = graph.node("Mul", [colour, step], f"{name}:{what}_change")
        return graph.node("Add", [step, graph.constant(f"{name}:{what}_grey", at_grey)], f"{name}:{what}")

    return mixed("slope", grey.slope, coloured.slope), mixed("offset", grey.offset, coloured.offset)


def _applied(graph: _Graph, name: str, value: str, line: tuple[str, str]) -> str:
    product = graph.node("Mul", [value, line[0]], f"{name}_scaled")
    return graph.node("Add", [product, line[1]], name)


def _limited(graph: _Graph, member: Member, value: str) -> str:
    limit, name = member.spec.limit, member.spec.name
    if limit is None:
        return value
    bounds = graph.constant(f"{name}:least", -limit), graph.constant(f"{name}:most", limit)
    return graph.node("Clip", [value, *bounds], f"{name}:limited")


def _map(graph: _Graph, member: Member, line: tuple[str, str]) -> str:
    """The share of each place of the feature map in the committee's log-odds, shape (N, 1, h, w)."""
    name = member.spec.name
    kernel = np.asarray(member.log_odds.weights, np.float32).reshape(1, -1, 1, 1)
    constants = (
        graph.constant(f"{name}:map_weights", kernel),
        graph.constant(f"{name}:map_bias", [member.log_odds.offset]),
    )
    raw = graph.node("Conv", [f"{name}/{MAP}", *constants], f"{name}:map_log_odds", kernel_shape=[1, 1])
    if member.spec.grey is not None:
        axes = graph.constant(f"{name}:map_axes", [2, 3], np.int64)
        line = (
            graph.node("Unsqueeze", [line[0], axes], f"{name}:map_slope"),
            graph.node("Unsqueeze", [line[1], axes], f"{name}:map_offset"),
        )
    weight = graph.constant(f"{name}:map_weight", member.spec.weight)
    return graph.node("Mul", [_applied(graph, f"{name}:map_calibrated", raw, line), weight], f"{name}:map_weighted")


def _classifier(members: Sequence[Member], offset: float, depth: int) -> bytes:
    """The logit of live is offset + the weighted sum of the first M columns of the embedding, that of spoof 0."""
    weights = np.zeros((depth, 2), np.float32)
    weights[: len(members), 0] = [member.spec.weight for member in members]
    graph = _Graph()
    constants = graph.constant("weights", weights), graph.constant("bias", [offset, 0.0])
    graph.node("Gemm", ["embedding", *constants], "logits")
    given = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", depth])]
    made = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])]
    return _model(graph, "sum", given, made)


def _depth(encoder: bytes) -> int:
    """Size of the embedding."""
    outputs = OrtSession(encoder, RuntimeOptions("cpu")).outputs
    depth = next(output.shape[1] for output in outputs if output.name == "embedding")
    if depth is None:
        raise SpecError("features: the size of a member's features is not known from its network")
    return depth


def _model(
    graph: _Graph, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> bytes:
    made = helper.make_graph(graph.nodes, name, list(inputs), list(outputs), graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
