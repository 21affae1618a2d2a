"""A member of a committee: a network from a file, a run or a bundle, in a form in which it can be merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.transformers.onnx_model import OnnxModel

from liveness_core.bundle import load_bundle
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import RuntimeOptions
from liveness_core.views import View
from liveness_training.export import rewriting
from liveness_training.export.committee_spec import LogOdds, MemberSpec, SpecError
from liveness_training.export.networks import CHECKED_ROWS, to_fp16, to_int8, to_onnx
from liveness_training.runs.folder import RunFolder

# N images, D embedding, C outputs

OPSET = 20
INPUT, OUTPUT = "member_input", "member_outputs"
FEATURES, MAP = "member_features", "member_map"


@dataclass(frozen=True, slots=True)
class Member:
    """A network that is ready to be merged."""

    spec: MemberSpec
    network: bytes
    """ONNX: `INPUT` (N, 3, S, S) to `OUTPUT` (N, C) and, where it has them, `FEATURES` (N, D), `MAP` (N, C, h, w)."""
    view: View
    log_odds: LogOdds
    has_features: bool
    has_map: bool
    is_fixed: bool = False
    """Whether it was quantised already and stays as it is in every precision."""

    def in_fp16(self) -> "Member":
        """The same in float16; input and outputs stay float32."""
        if self.is_fixed:
            return self
        halved = OnnxModel(onnx.load_from_string(to_fp16(rewriting.prelu_as_max(self.network))))
        halved.topological_sort()  # the converter appends the nodes that it adds
        return replace(self, network=bytes(halved.model.SerializeToString()))

    def in_int8(self, batches: Sequence[NDArray[np.float32]]) -> "Member":
        """The same in int8, if it may be and has convolutions for it; `batches` are inputs that give the ranges."""
        convolutions = sum(node.op_type == "Conv" for node in onnx.load_from_string(self.network).graph.node)
        if self.is_fixed or self.spec.int8 == "never" or convolutions <= self.spec.float_convolutions:
            return self
        network = rewriting.prelu_as_max(self.network)
        made = to_int8(network, batches, float_convolutions=self.spec.float_convolutions, input_name=INPUT)
        return replace(self, network=made)

    def in_float(self, *, stored_in_half: bool = False) -> "Member":
        """The same in float32, in the form that is fastest on processors; its constants may be stored as float16."""
        if self.is_fixed:
            return self
        network = rewriting.for_processors(self.network)
        return replace(self, network=rewriting.stored_in_half(network) if stored_in_half else network)


def read_member(spec: MemberSpec) -> Member:
    """Read the network of a member.

    Raises:
        SpecError: a file is missing, or not of the form that is described.
        ExportError: a run's network cannot be exported.
    """
    try:
        if spec.run is not None:
            return _of_run(spec, RunFolder.read(Path(spec.run)))
        if spec.bundle is not None:
            return _of_bundle(spec, Path(spec.bundle))
        return _of_file(spec, Path(str(spec.network)).read_bytes())
    except OSError as error:
        raise SpecError(f"{spec.name}: {error}") from error


def _of_file(spec: MemberSpec, content: bytes) -> Member:
    assert spec.view is not None  # the specification asks for both
    assert spec.log_odds is not None
    model = onnx.load_from_string(content)
    output = spec.output or model.graph.output[0].name
    wanted = {OUTPUT: output} | ({FEATURES: spec.features} if spec.features else {})
    network = _with_tensors(spec, model, wanted)
    return Member(spec, network, spec.view, spec.log_odds, has_features=bool(spec.features), has_map=False)


def _of_run(spec: MemberSpec, run: RunFolder) -> Member:
    network = run.network()
    size = run.preprocess.size
    noise = np.random.default_rng(0).uniform(-1, 1, (CHECKED_ROWS, 3, size, size)).astype(np.float32)
    example = torch.from_numpy(noise)
    names = ["embedding", "features"]
    encoder = to_onnx(network.encoder, example, "image", names, relative_outputs=names)
    weight, bias = network.classifier.weight.detach().numpy(), network.classifier.bias.detach().numpy()
    return _of_encoder(spec, encoder, weight, bias, run.preprocess)


def _of_bundle(spec: MemberSpec, path: Path) -> Member:
    loaded = load_bundle(path, precision=spec.precision, runtime=RuntimeOptions("cpu"))
    preprocess = loaded.manifest.preprocess
    if not isinstance(preprocess, PreprocessSpec):
        raise SpecError(f"{spec.name}: {path} is a committee itself: name its members")
    classifier = onnx.load(path / loaded.manifest.classifier.file)
    arrays = {each.name: numpy_helper.to_array(each) for each in classifier.graph.initializer}
    [node] = classifier.graph.node
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    weight, bias = arrays[node.input[1]], arrays[node.input[2]]
    weight = weight if flags.get("transB") else weight.T
    encoder = (path / loaded.variant.encoder.file).read_bytes()
    fixed = loaded.variant.precision != "fp32"
    return replace(_of_encoder(spec, encoder, weight, bias, preprocess), is_fixed=fixed)


def _of_encoder(
    spec: MemberSpec,
    encoder: bytes,
    weight_2D: NDArray[np.float32],
    bias_2: NDArray[np.float32],
    preprocess: PreprocessSpec,
) -> Member:
    """A member of an encoder whose linear classifier is a part of its log-odds."""
    difference_D = weight_2D[0].astype(np.float64) - weight_2D[1]
    log_odds = LogOdds(weights=tuple(difference_D.tolist()), offset=float(bias_2[0]) - float(bias_2[1]))
    has_features = spec.features != "none"
    wanted = {OUTPUT: "embedding"} | ({FEATURES: "embedding"} if has_features else {})
    wanted |= {MAP: "features"} if spec.heatmap else {}
    network = _with_tensors(spec, onnx.load_from_string(encoder), wanted)
    return Member(spec, network, View.of(preprocess), log_odds, has_features=has_features, has_map=spec.heatmap)


def _with_tensors(spec: MemberSpec, model: onnx.ModelProto, wanted: Mapping[str, str]) -> bytes:
    """The model with these tensors as its outputs, under names of ours, and its input as `INPUT`.

    Raises:
        SpecError: it has another number of inputs, or lacks a tensor.
    """
    model = _of_opset(model)
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    made = {name for node in graph.node for name in node.output}
    if len(inputs) != 1 or not {*wanted.values()} <= made:
        raise SpecError(f"{spec.name}: the network must have one input and the tensors {', '.join(wanted.values())}")
    given = inputs[0].name
    for node in graph.node:
        node.input[:] = [INPUT if name == given else name for name in node.input]
    shape = [each.dim_value or None for each in inputs[0].type.tensor_type.shape.dim]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["N", *shape[1:]]))
    ranks = {OUTPUT: 2, FEATURES: 2, MAP: 4}
    for name, tensor in wanted.items():
        graph.node.append(helper.make_node("Identity", [tensor], [name], name=f"out_{name}"))
        free = ["N", *(f"{name}_{axis}" for axis in range(1, ranks[name]))]
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, free))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _of_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in the version of ONNX's operators that all members share."""
    used = {node.domain for node in model.graph.node}
    versions = {each.domain: each.version for each in model.opset_import if each.domain in used | {""}}
    if any(versions.keys() - {"", "ai.onnx"}):
        raise SpecError(f"operators of {', '.join(sorted(versions.keys() - {''}))} cannot be merged")
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", versions[""]))
    return model if versions[""] == OPSET else onnx.version_converter.convert_version(model, OPSET)
