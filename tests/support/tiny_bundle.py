"""A real bundle of a few kilobytes: real ONNX networks, whose score is a plain function of the crop's brightness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from liveness_core.bundle import (
    GoldenCases,
    Manifest,
    NetworkFile,
    OperatingPoint,
    Provenance,
    TemporalHead,
    TensorSpec,
    Variant,
    save_bundle,
)
from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.runtime import OrtSession
from liveness_core.scoring import ClipScorer, Scorer

DEPTH = 4
SIZE = 224
PATCH = 32
FRAMES = 8


def make_tiny_bundle(
    path: Path, *, bias: float = 0.0, gain: float = 1.0, temporal: bool = False, **changes: Any
) -> Manifest:
    """Write a bundle whose score is sigmoid(bias + gain x mean of the normalised crop, in [-1, 1]).

    Args:
        path: its folder.
        bias: far above 0 makes every crop live, far below 0 spoof.
        gain: how much brightness matters.
        temporal: also scores clips: sigmoid(bias + gain x mean over the frames), of which later ones weigh more.
        changes: fields of the manifest that differ.
    """
    preprocess = changes.pop("preprocess", PreprocessSpec())
    encoder, classifier = encoder_bytes(), classifier_bytes(bias, gain)
    crops = _golden_crops(preprocess.size)
    scorer = Scorer(OrtSession(encoder), OrtSession(classifier), preprocess, 1.0)
    golden = GoldenCases({"image": crops}, {"fp32": np.array([result.score for result in scorer.score(list(crops))])})
    head_files = {}
    if temporal:
        head_files["temporal.onnx"] = temporal_bytes(bias, gain)
        golden = _with_clips(golden, scorer, ClipScorer(OrtSession(head_files["temporal.onnx"]), ClipSpec(), 1.0))
    operating_points = {
        "eer": OperatingPoint(threshold=0.5, chosen_on="nothing, a test", apcer=0.1, bpcer=0.1),
        "strict": OperatingPoint(threshold=0.9999, chosen_on="nothing, a test", apcer=0.01, bpcer=0.5),
    }
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "preprocess": preprocess,
        "detector": DetectorSpec(),
        "quality_gates": QualityGates(),
        "variants": (
            Variant(
                precision="fp32",
                encoder=NetworkFile(
                    file="encoder.onnx",
                    inputs=(_spec("image", None, 3, SIZE, SIZE),),
                    outputs=(_spec("embedding", None, DEPTH), _spec("features", None, DEPTH, 7, 7)),
                ),
                golden_tolerance=1e-3,
            ),
        ),
        "classifier": NetworkFile(
            file="classifier.onnx",
            inputs=(_spec("embedding", None, DEPTH),),
            outputs=(_spec("logits", None, 2),),
        ),
        "temperature": 1.0,
        "operating_points": operating_points,
        "default_operating_point": "eer",
        "temporal": _head(operating_points) if temporal else None,
        "files": dict.fromkeys(("encoder.onnx", "classifier.onnx", "golden.npz", *head_files), "0" * 64),
        "provenance": Provenance(
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            git_commit="0" * 12,
            seed=0,
            command="tests",
            config={},
            libraries={},
            data=("none",),
        ),
        "metrics": {"test": {"auc": 0.5}},
    }
    files: Mapping[str, bytes] = {
        "encoder.onnx": encoder,
        "classifier.onnx": classifier,
        "golden.npz": golden.to_bytes(),
        **head_files,
    }
    return save_bundle(path, Manifest(**{**fields, **changes}), files)


def encoder_bytes(input_name: str = "image") -> bytes:
    """The mean of each 32x32 patch, in four equal channels, and the mean over the patches."""
    weight = np.full((DEPTH, 3, PATCH, PATCH), 1 / (3 * PATCH * PATCH), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [input_name, "weight"], ["features"], strides=[PATCH, PATCH]),
            helper.make_node("ReduceMean", ["features", "axes"], ["embedding"], keepdims=0),
        ],
        "encoder",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DEPTH]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", DEPTH, 7, 7]),
        ],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    return _serialised(graph)


def classifier_bytes(bias: float, gain: float) -> bytes:
    """logit of live = bias + gain x mean, logit of spoof = 0."""
    weight = np.zeros((DEPTH, 2), np.float32)
    weight[:, 0] = gain / DEPTH
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"])],
        "classifier",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DEPTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([bias, 0], np.float32), "bias")],
    )
    return _serialised(graph)


def temporal_bytes(
    bias: float, gain: float, *, frames: int = FRAMES, input_name: str = "embeddings", depth: int = DEPTH
) -> bytes:
    """logit of live = bias + gain x mean over frames and depth, frame t of T weighing as t does; of spoof = 0."""
    weight = np.zeros((frames, depth, 2), np.float32)
    weight[..., 0] = gain / depth * (np.arange(1, frames + 1) / np.arange(1, frames + 1).sum())[:, None]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [input_name], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        ],
        "temporal",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["B", frames, depth])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])],
        [
            numpy_helper.from_array(weight.reshape(-1, 2), "weight"),
            numpy_helper.from_array(np.array([bias, 0], np.float32), "bias"),
        ],
    )
    return _serialised(graph)


def _head(operating_points: dict[str, OperatingPoint]) -> TemporalHead:
    network = NetworkFile(
        file="temporal.onnx",
        inputs=(_spec("embeddings", None, FRAMES, DEPTH),),
        outputs=(_spec("logits", None, 2),),
    )
    return TemporalHead(network=network, clip=ClipSpec(), temperature=1.0, operating_points=operating_points)


def _with_clips(golden: GoldenCases, scorer: Scorer, clip_scorer: ClipScorer) -> GoldenCases:
    clips_JT = np.random.default_rng(1).integers(0, len(golden.crops_KSS3["image"]), (4, FRAMES))
    embedding_KD = scorer.embed(golden.faces(["image"]))
    scores_J = clip_scorer.score_embeddings(embedding_KD[clips_JT])
    return GoldenCases(golden.crops_KSS3, golden.scores_K, clips_JT, {"fp32": scores_J})


def _serialised(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _spec(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


def _golden_crops(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random stripes: noise in all pixels would take five times as long to write, since it cannot be compressed."""
    stripes = np.random.default_rng(0).integers(0, 256, (3, size, 1, 3), dtype=np.uint8)
    return np.repeat(stripes, size, axis=2)


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What the networks say of one clip."""

    score: float
    """Score of the clip, by the temporal head."""
    frame_scores: tuple[float, ...]
    """Score of each frame, in order, as if it were a photo."""


def score_clips(
    scorer: Scorer, clip_scorer: ClipScorer, clips: Sequence[Sequence[NDArray[np.uint8]]]
) -> list[ClipScore]:
    """Score clips of T crops each: all frames go through the encoder once, the head gets their embeddings."""
    frames = scorer.score([crop for clip in clips for crop in clip])
    embeddings_BTD = np.stack([frame.embedding for frame in frames]).reshape(len(clips), len(clips[0]), -1)
    frame_scores_BT = np.reshape([frame.score for frame in frames], (len(clips), -1))
    return [
        ClipScore(float(score), tuple(row.tolist()))
        for score, row in zip(clip_scorer.score_embeddings(embeddings_BTD), frame_scores_BT, strict=True)
    ]
