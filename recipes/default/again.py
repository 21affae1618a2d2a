"""Write SPEC.yaml of a committee's bundle from the bundle, to export it again with our members out of its encoder.

    python recipes/default/again.py models/default OUT --version 6.1 --data DATA
    PUBLIC=../shared/peers liveness-train committee OUT/SPEC.yaml models/default

For a new form of the same networks where the runs of our own members are no longer at hand. Calibration, thresholds,
figures and gates are the bundle's. The weights of our members come from its float16 encoder, widened to float32, as
bundles of their own in OUT; the published members are read from $PUBLIC again. DATA is the folder with an index.csv
that the drift is measured on.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import yaml
from committee_bundle import IN_INT8
from onnx import TensorProto, helper, numpy_helper

from liveness_core.bundle import Manifest, Variant, save_bundle
from liveness_core.bundle.load import read_manifest
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import Scorer
from liveness_core.views import View
from liveness_training.export.bundle import CLASSIFIER, GOLDEN, UNHASHED, encoder_name
from liveness_training.export.golden import golden_cases
from liveness_training.export.networks import network_file

_OF_THE_EXPORT = {"int8_drift", "in_int8", "int8", "float_convolutions"}
_KEPT = {
    "temperature",
    "operating_points",
    "default_operating_point",
    "reference_scores",
    "reference_attacks",
    "detector",
    "quality_gates",
    "metrics",
}
_RENAMED = {"embedding": "member_outputs", "features": "member_map"}


def own_encoder(committee: onnx.ModelProto, name: str, view: View) -> bytes:
    """ONNX of one member out of a committee in float16: `image` to `embedding` and `features`, in float32."""
    constants = {each.name: numpy_helper.to_array(each) for each in committee.graph.initializer}
    source = {f"{name}/{theirs}": ours for ours, theirs in _RENAMED.items()}
    nodes, same = [], dict[str, str]()
    for node in committee.graph.node:
        if not node.output[0].startswith(f"{name}/"):
            continue
        if node.op_type in ("Cast", "Identity"):
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)

    def origin(tensor: str) -> str:
        while tensor in same:
            tensor = same[tensor]
        return tensor

    names = {origin(theirs): ours for theirs, ours in source.items()} | {view.name: "image"}
    for number, node in enumerate(nodes):
        node.input[:] = [names.get(origin(each), origin(each)) for each in node.input]
        node.output[:] = [names.get(each, each) for each in node.output]
        node.name = node.name or f"node_{number}"
    used = {each for node in nodes for each in node.input}
    widened = {
        key: value.astype(np.float32) if value.dtype == np.float16 else value
        for key, value in constants.items()
        if key in used
    }
    size, free = view.size, ["h", "w"]
    depth = widened[next(node for node in reversed(nodes) if node.op_type == "Conv").input[1]].shape[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, size, size])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", depth]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", depth, *free]),
        ],
        [numpy_helper.from_array(value, key) for key, value in widened.items()],
    )
    return serialised(graph)


def serialised(graph: onnx.GraphProto) -> bytes:
    """A model of a graph, checked."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def own_classifier(committee: onnx.ModelProto, name: str) -> bytes:
    """Its linear classifier: the difference of its logits is the member's log-odds."""
    constants = {each.name: numpy_helper.to_array(each) for each in committee.graph.initializer}
    weights, bias = (constants[f"{name}:{part}"].astype(np.float32).reshape(-1) for part in ("weights", "bias"))
    both = np.stack([weights, np.zeros_like(weights)], 1)
    node = helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"], name="classifier")
    graph = helper.make_graph(
        [node],
        "classifier",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", len(weights)])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(both, "weights"),
            numpy_helper.from_array(np.array([bias[0], 0], np.float32), "bias"),
        ],
    )
    return serialised(graph)


def save_member(folder: Path, manifest: Manifest, committee: onnx.ModelProto, name: str, view: View) -> None:
    """A bundle of schema 1 with one member of the committee."""
    networks = own_encoder(committee, name, view), own_classifier(committee, name)
    preprocess = PreprocessSpec(**{key: getattr(view, key) for key in PreprocessSpec.model_fields})
    sessions = [OrtSession(network, RuntimeOptions("cpu")) for network in networks]
    scorer = Scorer(sessions[0], sessions[1], preprocess, 1.0)
    golden = golden_cases((View.of(preprocess),), {"fp32": scorer}, {})
    files = dict(zip((encoder_name("fp32"), CLASSIFIER, GOLDEN), (*networks, golden.to_bytes()), strict=True))
    encoder = network_file(encoder_name("fp32"), networks[0])
    save_bundle(
        folder,
        Manifest(
            schema_version=1,
            name=name,
            version=manifest.version,
            preprocess=preprocess,
            detector=manifest.detector,
            quality_gates=manifest.quality_gates,
            variants=(Variant(precision="fp32", encoder=encoder, golden_tolerance=0.001),),
            classifier=network_file(CLASSIFIER, networks[1]),
            temperature=1.0,
            operating_points=manifest.operating_points,
            default_operating_point=manifest.default_operating_point,
            files=dict.fromkeys(files, UNHASHED),
            provenance=manifest.provenance,
            metrics={},
        ),
        files,
    )


def main() -> None:
    """Write the specification and the bundles of our own members."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="Markdown for the card: where the model fails.")
    options = parser.parse_args()
    manifest = read_manifest(options.bundle)
    half = next(variant for variant in manifest.variants if variant.precision == "fp16")
    committee = onnx.load(options.bundle / half.encoder.file)
    notice = (options.bundle / "NOTICE").read_text()
    config = dict(manifest.provenance.config)
    members = cast("list[dict[str, Any]]", config.pop("members"))
    entries = []
    for member in members:
        name, file = member["name"], member.pop("file")
        entry = {key: value for key, value in member.items() if value is not None and key not in _OF_THE_EXPORT}
        if entry.get("view"):
            entry |= {"network": f"$PUBLIC/{file}"}
            [licence] = [line for line in notice.splitlines() if line.startswith(f"{name}: ")]
            entry |= {"licence": f"$PUBLIC/{licence.rpartition('licence: ')[2].rstrip(')')}"}
        else:
            view = next(view for view in manifest.views if view.heatmap)
            save_member(options.out / name, manifest, committee, name, view)
            entry |= {"bundle": name, "precision": "fp32"}
        entries.append(entry | IN_INT8.get(name, {}))
    temporal = manifest.temporal
    assert temporal is not None
    spec: dict[str, Any] = {
        "version": options.version,
        "members": entries,
        "offset": config.pop("offset"),
        "weights_in_half": True,
        "temporal": {
            "network": str((options.bundle / temporal.network.file).absolute()),
            **temporal.model_dump(mode="json", include={"clip", "temperature", "operating_points"}),
        },
        "precisions": [variant.precision for variant in manifest.variants],
        "measure": {"data": str(options.data.absolute()), "calibrate": 256, "pictures": 400, "most_drift": 0.02},
        "data": list(manifest.provenance.data),
        "seed": manifest.provenance.seed,
        "config": config,
        **manifest.model_dump(mode="json", include=_KEPT),
    }
    if options.card is not None:
        spec["card"] = str(options.card.absolute())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "SPEC.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


if __name__ == "__main__":
    main()
