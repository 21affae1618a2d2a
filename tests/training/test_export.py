"""From a run to a bundle, for real: torch, ONNX, int8, the loader that the service uses."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from liveness_core.bundle import load_bundle
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import OrtSession
from liveness_core.scoring import live_probability
from liveness_training.config import TrainConfig
from liveness_training.export import export_bundle
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from liveness_training.onnx_export import ExportError, to_int8, to_onnx
from liveness_training.run import train
from liveness_training.run_folder import RunError, RunFolder
from liveness_training.tasks.binary import logits

SPEC = PreprocessSpec(size=32)


def trained(crops, folder, **fields):
    settings = {"steps": 12, "batch_size": 16, "precision": "fp32", "warmup_steps": 1, "ema_decay": 0.0, **fields}
    train(crops, TrainConfig(**settings), folder, preprocess=SPEC, detector=DetectorSpec(), init=None, workers=0)
    return RunFolder.read(folder)


@pytest.fixture(scope="module")
def runs(crops, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return trained(crops, root / "all"), trained(crops, root / "without-hall", hold_out="hall")


@pytest.fixture(scope="module")
def exported(crops, runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "mine"
    run, held_out = runs
    manifest = export_bundle(
        run,
        crops,
        folder,
        name="mine",
        version="7",
        precisions=["int8", "fp32"],
        held_out=[held_out],
        licences={"hall": "our own, with consent"},
    )
    return folder, manifest


def test_fp32_bundle_scores_as_torch_does(crops, runs, exported):
    folder, manifest = exported
    bundle = load_bundle(folder, precision="fp32")
    pictures = list(crops.crops_MVSS3[:5, 0])
    expected = live_probability(
        logits(runs[0].network(), torch.from_numpy(SPEC.to_tensor(pictures))).numpy(), manifest.temperature
    )
    assert [result.score for result in bundle.scorer.score(pictures)] == pytest.approx(expected, abs=1e-4)


def test_int8_bundle_is_smaller_and_stays_close(crops, exported):
    folder, manifest = exported
    assert (folder / "encoder.int8.onnx").stat().st_size < 0.4 * (folder / "encoder.onnx").stat().st_size
    first, second = manifest.variants
    assert (first.precision, second.precision) == ("int8", "fp32")
    assert second.parity is None
    assert first.parity.images == len(manifest_test_rows(crops))
    assert 0 < first.parity.mean_score_drift < 0.1
    weights = onnx.load(folder / "encoder.int8.onnx").graph.initializer
    eight_bits = [onnx.numpy_helper.to_array(each) for each in weights if each.data_type == onnx.TensorProto.INT8]
    kernels = [each for each in eight_bits if each.ndim == 4]
    assert kernels
    # 7 bits, or processors without VNNI overflow; docs/adr/0004.
    assert max(int(np.abs(each.astype(int)).max()) for each in kernels) <= 64


def manifest_test_rows(crops):
    from liveness_training.protocols import make_protocol

    return make_protocol(crops.samples, crops.missed, None).reports["test"].rows


def test_bundle_says_where_it_comes_from_and_what_it_is_worth(runs, exported):
    _, manifest = exported
    run, held_out = runs
    assert manifest.preprocess == SPEC
    assert manifest.provenance.git_commit == run.git_commit
    assert manifest.provenance.data == ("hall: our own, with consent", "office: terms not stated")
    assert manifest.provenance.config["steps"] == 12
    assert {"test", "test/hall", "test/office", "held_out/hall"} == set(manifest.metrics)
    assert manifest.metrics["held_out/hall"] == held_out.metrics()["held_out/hall"]
    assert set(manifest.operating_points) == {"eer", "apcer10", "apcer5", "apcer1"}
    thresholds = [manifest.operating_points[name].threshold for name in ("apcer10", "apcer5", "apcer1")]
    assert thresholds == sorted(thresholds)
    for name, limit in (("apcer10", 0.10), ("apcer5", 0.05), ("apcer1", 0.01)):
        assert manifest.operating_points[name].apcer <= limit


def test_model_card_has_the_figures_and_the_limits(exported):
    folder, manifest = exported
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# mine 7\n")
    assert "hall: our own, with consent" in card
    assert f"| held_out/hall | 40 | {100 * manifest.metrics['held_out/hall']['auc']:.1f} |" in card
    assert "int8" in card
    assert "apcer5 (default)" in card


def test_golden_cases_tell_a_drift_of_the_logits(exported):
    folder, _ = exported
    with np.load(folder / "golden.npz") as golden:
        scores = golden["scores_fp32"]
    shifted = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + 0.1)))
    assert np.abs(shifted - scores).max() > 1e-3


def test_run_of_another_recipe_is_not_taken_for_a_held_out_figure(crops, runs, tmp_path):
    other = trained(crops, tmp_path / "other", hold_out="hall", steps=1)
    with pytest.raises(ExportError, match="another recipe"):
        export_bundle(runs[0], crops, tmp_path / "bundle", name="b", version="1", precisions=["fp32"], held_out=[other])
    assert not (tmp_path / "bundle").exists()


def test_run_that_has_not_ended_is_named(tmp_path):
    with pytest.raises(RunError, match=r"run\.json is missing"):
        RunFolder.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"config": {}, "preprocess": {}, "detector": {}, "git_commit": "0"}))
    with pytest.raises(RunError, match=r"metrics\.json is missing"):
        RunFolder.read(tmp_path).metrics()


class Unfaithful(nn.Module):
    """Computes something else the first time, which is the time that is exported."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1.0 if self.calls > 1 else 2.0)


def test_export_that_computes_something_else_is_refused():
    with pytest.raises(ExportError, match="differs from torch"):
        to_onnx(Unfaithful(), torch.ones(5, 3), "x", ["y"])


def test_batch_norms_are_folded_and_asymmetric_padding_survives():
    encoder = MobileNetV2Encoder("tensorflow").eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    example = torch.randn(5, 3, 64, 64)
    content = to_onnx(encoder, example, "image", ["embedding", "features"])
    assert "BatchNormalization" not in {node.op_type for node in onnx.load_from_string(content).graph.node}
    with torch.inference_mode():
        expected = encoder(example)[0].numpy()
    assert OrtSession(content).run({"image": example.numpy()}, ["embedding"])[0] == pytest.approx(expected, abs=1e-4)


def test_first_convolutions_stay_in_float(tmp_path: Path):
    encoder = MobileNetV2Encoder("tensorflow").eval()
    example = torch.randn(8, 3, 32, 32)
    fp32 = to_onnx(encoder, example, "image", ["embedding", "features"])
    model = onnx.load_from_string(to_int8(fp32, [example.numpy()], float_convolutions=6))
    floats = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    in_float = [node.input[1] in floats for node in convolutions]
    assert in_float == [True] * 6 + [False] * (len(convolutions) - 6)
