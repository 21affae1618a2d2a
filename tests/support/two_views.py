"""A real bundle of schema version 2: two crops of a face, one score, which is a plain function of their brightness."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from liveness_core.bundle import GoldenCases, Manifest, NetworkFile, TensorSpec, Variant, save_bundle
from liveness_core.clips import ClipSpec
from liveness_core.runtime import OrtSession
from liveness_core.scoring import ClipScorer, Scorer
from liveness_core.views import View, cut_views
from support.fakes import face
from support.pictures import astronaut
from support.tiny_bundle import DEPTH, FRAMES, classifier_bytes, make_tiny_bundle, temporal_bytes

VIEWS = (
    View(name="wide", margin=2.7, size=64, heatmap=True),
    View(name="tight", rule="upright_square", margin=1.2, size=32, resampling="area_lanczos"),
)


def make_two_views_bundle(path: Path, *, bias: float = 0.0, gain: float = 1.0, **changes: Any) -> Manifest:
    """Write a bundle whose score is sigmoid(bias + gain x mean of the two crops' brightness, each in [-1, 1]).

    It scores clips too. Its heat map is the brightness of 4 x 4 parts of the wide crop.
    """
    manifest = make_tiny_bundle(path, bias=bias, gain=gain, temporal=True)
    encoder, classifier, head = two_views_encoder(), classifier_bytes(bias, gain), temporal_bytes(bias, gain)
    scorer = Scorer(OrtSession(encoder), OrtSession(classifier), VIEWS, 1.0)
    picture = astronaut()
    faces = [cut_views(VIEWS, (picture * share).astype(np.uint8), face()) for share in (1.0, 0.6, 0.2)]
    clips = np.array([[0] * FRAMES, [2] * FRAMES])
    golden = GoldenCases(
        {view.name: np.stack([crops[number] for crops in faces]) for number, view in enumerate(VIEWS)},
        {"fp32": np.array([result.score for result in scorer.score(faces)])},
        clips,
        {"fp32": ClipScorer(OrtSession(head), ClipSpec(), 1.0).score_embeddings(scorer.embed(faces)[clips])},
    )
    network = NetworkFile(
        file="encoder.onnx",
        inputs=tuple(_spec(view.name, None, 3, view.size, view.size) for view in VIEWS),
        outputs=(_spec("embedding", None, DEPTH), _spec("activation", None, 4, 4)),
    )
    fields = {
        **dict(manifest),
        "schema_version": 2,
        "preprocess": VIEWS,
        "variants": (Variant(precision="fp32", encoder=network, golden_tolerance=1e-3),),
        **changes,
    }
    files = {name: (path / name).read_bytes() for name in manifest.files}
    files |= {"encoder.onnx": encoder, "golden.npz": golden.to_bytes()}
    return save_bundle(path, Manifest(**fields), files)


def two_views_encoder() -> bytes:
    """The mean of both crops, four times; and the brightness of 4 x 4 parts of the first."""
    nodes = [
        helper.make_node("AveragePool", ["wide"], ["parts"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("ReduceMean", ["parts", "channel"], ["activation"], keepdims=0),
        helper.make_node("ReduceMean", ["wide", "all"], ["of_wide"], keepdims=0),
        helper.make_node("ReduceMean", ["tight", "all"], ["of_tight"], keepdims=0),
        helper.make_node("Add", ["of_wide", "of_tight"], ["both"]),
        helper.make_node("Unsqueeze", ["both", "channel"], ["column"]),
        helper.make_node("MatMul", ["column", "halves"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, ["N", 3, v.size, v.size]) for v in VIEWS],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DEPTH]),
            helper.make_tensor_value_info("activation", TensorProto.FLOAT, ["N", 4, 4]),
        ],
        [
            numpy_helper.from_array(np.array([1]), "channel"),
            numpy_helper.from_array(np.array([1, 2, 3]), "all"),
            numpy_helper.from_array(np.full((1, DEPTH), 0.5, np.float32), "halves"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _spec(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)
