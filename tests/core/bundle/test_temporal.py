"""A bundle that also scores clips: its temporal head has to pass the same checks as the other networks."""

import json
import math
import shutil

import numpy as np
import onnx
import pytest

from liveness_core.bundle import BundleError, GoldenCases, Manifest, load_bundle, save_bundle
from liveness_core.clips import ClipSpec
from support.tiny_bundle import DEPTH, FRAMES, classifier_bytes, make_tiny_bundle, score_clips, temporal_bytes


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path, bias=0.5, gain=2.0, temporal=True)
    return path


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def grey(value):
    return np.full((224, 224, 3), value, np.uint8)


def golden_of(path):
    return GoldenCases.from_bytes((path / "golden.npz").read_bytes())


def resave(path, files=None, **head):
    """Write the bundle again with other content but correct hashes and digest, as a faulty exporter would."""
    manifest = Manifest.model_validate_json((path / "bundle.json").read_text())
    contents = {name: (path / name).read_bytes() for name in manifest.files} | (files or {})
    temporal = manifest.temporal.model_copy(update=head)
    save_bundle(path, manifest.model_copy(update={"temporal": temporal}), contents)


def error_of(path):
    with pytest.raises(BundleError) as raised:
        load_bundle(path)
    return raised.value


def test_clips_are_scored_by_the_head_and_frames_as_photos_are(original):
    bundle = load_bundle(original)
    # Seven black frames and a white one at the end, which weighs 8 of 36.
    [clip] = score_clips(bundle.scorer, bundle.clip_scorer, [[grey(0)] * 7 + [grey(255)]])
    assert clip.score == pytest.approx(1 / (1 + math.exp(-(0.5 + 2 * (-28 + 8) / 36))), abs=1e-5)
    alone = [result.score for result in bundle.scorer.score([grey(0), grey(255)])]
    assert clip.frame_scores == pytest.approx([alone[0]] * 7 + [alone[1]], abs=1e-6)


def test_bundle_without_the_head_scores_photos_only(tmp_path):
    make_tiny_bundle(tmp_path / "photos")
    bundle = load_bundle(tmp_path / "photos")
    assert bundle.manifest.temporal is None
    assert bundle.clip_scorer is None


def test_heads_own_temperature_is_applied(bundle):
    golden = golden_of(bundle)
    cooler = 1 / (1 + ((1 - golden.clip_scores_J["fp32"]) / golden.clip_scores_J["fp32"]) ** 0.5)
    changed = GoldenCases(golden.crops_KSS3, golden.scores_K, golden.clips_JT, {"fp32": cooler})
    resave(bundle, {"golden.npz": changed.to_bytes()}, temperature=2.0)
    loaded = load_bundle(bundle)
    [clip] = score_clips(loaded.scorer, loaded.clip_scorer, [[grey(255)] * FRAMES])
    assert clip.score == pytest.approx(1 / (1 + math.exp(-1.25)), abs=1e-5)
    assert clip.frame_scores[0] == pytest.approx(1 / (1 + math.exp(-2.5)), abs=1e-5)


def test_missing_head_is_named(bundle):
    (bundle / "temporal.onnx").unlink()
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert "missing" in error.reason


def test_one_flipped_bit_in_the_head_is_refused(bundle):
    content = bytearray((bundle / "temporal.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "temporal.onnx").write_bytes(content)
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert "SHA-256" in error.reason


def with_free_length(content):
    model = onnx.load_from_string(content)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "T"
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"garbage", "not a network"),
        (temporal_bytes(0.5, 2.0, input_name="frames"), "'embeddings'"),
        (temporal_bytes(0.5, 2.0, frames=4), f"(N, 4, {DEPTH})"),
        (with_free_length(temporal_bytes(0.5, 2.0)), f"(N, N, {DEPTH})"),
        (classifier_bytes(0.5, 2.0), "'embeddings'"),
    ],
)
def test_head_that_breaks_the_contract_is_refused(bundle, content, said):
    resave(bundle, {"temporal.onnx": content})
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert said in error.reason


def test_head_for_embeddings_of_another_depth_is_refused(bundle):
    model = onnx.load_from_string(temporal_bytes(0.5, 2.0))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name == "weight"]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros((FRAMES * 9, 2), np.float32), "weight"))
    resave(bundle, {"temporal.onnx": model.SerializeToString()})
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert f"expected float32 (N, {FRAMES}, {DEPTH})" in error.reason


def test_clip_spec_that_the_head_does_not_take_is_refused(bundle):
    resave(bundle, clip=ClipSpec(frames=4))
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert f"expected float32 (N, 4, {DEPTH})" in error.reason


def test_drift_of_a_golden_clip_is_refused(bundle):
    resave(bundle, {"temporal.onnx": temporal_bytes(0.5 + 0.01, 2.0)})  # moves scores by about 0.0024
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert "clip's score drifts by 0.002" in error.reason


def test_drift_within_the_tolerance_is_accepted(bundle):
    resave(bundle, {"temporal.onnx": temporal_bytes(0.5 + 0.002, 2.0)})
    assert load_bundle(bundle).clip_scorer is not None


def test_head_that_gives_no_numbers_is_refused(bundle):
    resave(bundle, {"temporal.onnx": temporal_bytes(math.nan, 2.0)})
    error = error_of(bundle)
    assert error.file == "temporal.onnx"
    assert "finite" in error.reason


def test_head_without_golden_clips_is_refused(bundle):
    golden = golden_of(bundle)
    for without in (
        GoldenCases(golden.crops_KSS3, golden.scores_K),
        GoldenCases(golden.crops_KSS3, golden.scores_K, golden.clips_JT, {"int8": golden.clip_scores_J["fp32"]}),
    ):
        resave(bundle, {"golden.npz": without.to_bytes()})
        error = error_of(bundle)
        assert error.file == "golden.npz"
        assert "no scores of clips for fp32" in error.reason


def test_golden_clips_of_another_length_are_refused(bundle):
    golden = golden_of(bundle)
    shorter = GoldenCases(golden.crops_KSS3, golden.scores_K, golden.clips_JT[:, :5], golden.clip_scores_J)
    resave(bundle, {"golden.npz": shorter.to_bytes()})
    error = error_of(bundle)
    assert error.file == "golden.npz"
    assert "5 frames, expected 8" in error.reason


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(temporal=None),
        lambda content: content.pop("temporal"),
        lambda content: content["temporal"].update(temperature=1.1),
        lambda content: content["temporal"]["clip"].update(frames=9),
        lambda content: content["temporal"]["clip"].pop("frames"),
        lambda content: content["temporal"]["operating_points"]["eer"].update(threshold=0.1),
    ],
)
def test_head_taken_away_or_changed_in_the_manifest_is_noticed(bundle, edit):
    content = json.loads((bundle / "bundle.json").read_text())
    edit(content)
    (bundle / "bundle.json").write_text(json.dumps(content))
    error = error_of(bundle)
    assert error.file == "bundle.json"
    assert "changed after export" in error.reason
