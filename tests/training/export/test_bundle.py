"""From a run to a bundle, for real: torch, ONNX, int8, the loader that the service uses.

A short network shows it; with `slow` the whole MobileNetV2 does too.
"""

import contextlib
import logging
from dataclasses import replace
from unittest import mock

import numpy as np
import onnx
import pytest
import torch

from liveness_core.bundle import load_bundle
from liveness_core.bundle.load import read_manifest
from liveness_core.bundle.manifest import SCORE_EDGES
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.scoring import live_probability
from liveness_training.config import TrainConfig
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.export import photo
from liveness_training.export.bundle import export_bundle
from liveness_training.export.held_out import held_out_figures
from liveness_training.export.networks import ExportError
from liveness_training.runs.folder import RunError, RunFolder
from liveness_training.runs.plan import RunPlan
from liveness_training.runs.train import train
from support.networks import ShortestMobileNet, short_networks
from support.once import once
from support.tiny_bundle import score_clips

SPEC = PreprocessSpec(size=32)
FRAMES, STEPS = 4, 3
IN_FLOAT = {"short": 2, "whole": 9}  # first convolutions, which stay in float where the others become int8


@pytest.fixture(scope="module")
def crops():
    """Two domains of 20 people, each in a live recording and an attack; live is bright, attacks dark."""
    samples, pictures = [], []
    random = np.random.default_rng(0)
    for domain in ("office", "hall"):
        for person in range(20):
            for species in ("live", "print"):
                low = 130 if species == "live" else 20
                for place in range(FRAMES):
                    path = f"{domain}/x/p{person}/{species}{place}.jpg"
                    samples.append(Sample(path, domain, species == "live", species, f"p{person}", f"s{person}"))
                    pictures.append(random.integers(low, low + 90, (1, 32, 32, 3), dtype=np.uint8))
    return CropSet(
        tuple(samples), (Sample("hall/x/p1/lost.jpg", "hall", False, "print", "p1", ""),), np.stack(pictures)
    )


def trained(crops, folder, **fields):
    settings = {"steps": STEPS, "images_per_domain": 8, "lstm": True, "lstm_hidden": 32, "clip_frames": FRAMES}
    settings |= {"augmentation": "none", "warmup_steps": 1, "ema_decay": 0.0, "precision": "fp32", "device": "cpu"}
    train(crops, RunPlan(folder, TrainConfig(**{**settings, "workers": 0, **fields}), SPEC, DetectorSpec()))


@pytest.fixture(scope="module", params=["short", pytest.param("whole", marks=pytest.mark.slow)])
def size(request):
    short = request.param == "short"
    of_size = short_networks(ShortestMobileNet) if short else contextlib.nullcontext()
    with of_size, mock.patch.dict(photo._FLOAT_CONVOLUTIONS, {"mobilenet_v2": IN_FLOAT["short"]} if short else {}):
        yield request.param


@pytest.fixture(scope="module")
def runs(crops, size, tmp_path_factory):
    def make(root):
        trained(crops, root / "all")
        trained(crops, root / "without-hall", hold_out=("hall",))

    root = once(tmp_path_factory, f"exported-runs-{size}", make)
    return RunFolder.read(root / "all"), RunFolder.read(root / "without-hall")


@pytest.fixture(scope="module")
def exported(crops, runs, size, tmp_path_factory, operators_are_read_once):
    run, held_out = runs

    def make(root):
        export_bundle(
            run,
            crops,
            root / "mine",
            name="mine",
            version="7",
            precisions=["int8", "fp16", "fp32"],
            held_out=[held_out],
            licences={"hall": "our own, with consent"},
        )

    folder = once(tmp_path_factory, f"exported-bundle-{size}", make) / "mine"
    return folder, read_manifest(folder)


def clips_of(crops, run, count=3):
    """Some test clips: pictures, and what torch makes of them."""
    clips = run.clips(crops, run.protocol(crops).reports["test"].rows)[:count]
    pictures = [list(crops.crops_MVSS3[list(clip.rows), 0]) for clip in clips]
    network, head = run.network(), run.temporal()
    with torch.inference_mode():
        embeddings = torch.stack([network.encoder(torch.from_numpy(SPEC.to_tensor(clip)))[0] for clip in pictures])
        return pictures, network.classifier(embeddings).numpy(), head(embeddings).numpy()


def test_fp32_bundle_scores_photos_as_torch_does(crops, runs, exported):
    folder, manifest = exported
    [pictures, *_], [frame_logits, *_], _ = clips_of(crops, runs[0])
    expected = live_probability(frame_logits, manifest.temperature)
    actual = [result.score for result in load_bundle(folder, precision="fp32").scorer.score(pictures)]
    assert actual == pytest.approx(expected, abs=1e-4)


def test_fp32_bundle_scores_clips_as_torch_does(crops, runs, exported):
    folder, manifest = exported
    pictures, frame_logits, clip_logits = clips_of(crops, runs[0])
    bundle = load_bundle(folder, precision="fp32")
    results = score_clips(bundle.scorer, bundle.clip_scorer, pictures)
    expected = live_probability(clip_logits, manifest.temporal.temperature)
    assert [result.score for result in results] == pytest.approx(expected, abs=1e-4)
    frames = live_probability(frame_logits[1], manifest.temperature)
    assert results[1].frame_scores == pytest.approx(frames, abs=1e-4)


MOST = {"short": {"int8": 0.7, "fp16": 0.7}, "whole": {"int8": 0.4, "fp16": 0.6}}
"""Size of the encoder's file in shares of the fp32 one. Of a short network much of the file is not weights."""


def share_of_fp32(folder, precision):
    return (folder / f"encoder.{precision}.onnx").stat().st_size / (folder / "encoder.onnx").stat().st_size


def test_int8_bundle_is_smaller_and_stays_close(crops, runs, exported, size):
    folder, manifest = exported
    assert share_of_fp32(folder, "int8") < MOST[size]["int8"]
    first, _, third = manifest.variants
    assert [each.precision for each in manifest.variants] == ["int8", "fp16", "fp32"]
    assert third.parity is None
    assert first.parity.images == len(runs[0].protocol(crops).reports["test"].rows)
    assert 0 < first.parity.mean_score_drift < 0.1
    weights = (graph := onnx.load(folder / "encoder.int8.onnx").graph).initializer
    eight_bits = [onnx.numpy_helper.to_array(each) for each in weights if each.data_type == onnx.TensorProto.INT8]
    kernels = [each for each in eight_bits if each.ndim == 4]
    assert kernels
    # 7 bits, or processors without VNNI overflow; docs/adr/0004.
    assert max(int(np.abs(each.astype(int)).max()) for each in kernels) <= 64
    floats = {each.name for each in weights if each.data_type == onnx.TensorProto.FLOAT}
    in_float = [node.input[1] in floats for node in graph.node if node.op_type == "Conv"]
    assert in_float == [True] * IN_FLOAT[size] + [False] * (len(in_float) - IN_FLOAT[size])
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_fp16_bundle_is_half_as_large_and_says_how_far_it_drifts(crops, runs, exported, size):
    folder, manifest = exported
    assert share_of_fp32(folder, "fp16") < MOST[size]["fp16"]
    parity = manifest.variant("fp16").parity
    assert 0 < parity.max_score_drift < 5e-3
    assert parity.mean_score_drift < manifest.variant("int8").parity.mean_score_drift
    [pictures, *_], _, _ = clips_of(crops, runs[0])
    halved, whole = (load_bundle(folder, precision=each).scorer.score(pictures) for each in ("fp16", "fp32"))
    assert [each.score for each in halved] == pytest.approx([each.score for each in whole], abs=5e-3)


def test_bundle_says_where_it_comes_from_and_what_it_is_worth(runs, exported):
    _, manifest = exported
    run, held_out = runs
    assert manifest.preprocess == SPEC
    assert manifest.provenance.git_commit == run.git_commit
    assert manifest.provenance.data == ("hall: our own, with consent", "office: terms not stated")
    assert manifest.provenance.config["steps"] == STEPS
    assert manifest.provenance.config["hold_out"] == []
    parts = {"test", "test/hall", "test/office", "held_out/hall"}
    assert parts | {f"{part}@clip" for part in parts} <= set(manifest.metrics)
    for name in ("held_out/hall", "held_out/hall@clip"):
        assert manifest.metrics[name] == held_out.metrics()[name]


def test_photos_and_clips_have_thresholds_of_their_own_under_the_same_names(crops, runs, exported):
    _, manifest = exported
    dev = runs[0].clips(crops, runs[0].protocol(crops).dev)
    head = manifest.temporal
    assert {clip.sample.domain for clip in dev} == {"office"}
    assert manifest.operating_points["eer"].chosen_on == "development people of office"
    assert head.operating_points["eer"].chosen_on == f"{len(dev)} clips of development people of office"
    assert head.clip.frames == FRAMES
    for points in (manifest.operating_points, head.operating_points):
        assert set(points) == {"eer", "apcer10", "apcer5", "apcer1"}
        thresholds = [points[name].threshold for name in ("apcer10", "apcer5", "apcer1")]
        assert thresholds == sorted(thresholds)
        for name, limit in (("apcer10", 0.10), ("apcer5", 0.05), ("apcer1", 0.01)):
            assert points[name].apcer <= limit


def test_reference_scores_are_those_that_the_thresholds_were_chosen_on(crops, runs, exported):
    folder, manifest = exported
    run = runs[0]
    dev = run.protocol(crops).dev
    bundle = load_bundle(folder)  # the variant that sets the thresholds
    pictures = list(crops.crops_MVSS3[list(dev), 0])
    clips = run.clips(crops, dev)
    clip_pictures = [list(crops.crops_MVSS3[list(clip.rows), 0]) for clip in clips]
    for reference, scores, live in (
        (
            manifest.reference_scores.photo,
            [each.score for each in bundle.scorer.score(pictures)],
            [crops.samples[row].live for row in dev],
        ),
        (
            manifest.reference_scores.clip,
            [each.score for each in score_clips(bundle.scorer, bundle.clip_scorer, clip_pictures)],
            [clip.sample.live for clip in clips],
        ),
    ):
        for label, found in ((True, reference.live), (False, reference.spoof)):
            own = np.array([score for score, truth in zip(scores, live, strict=True) if truth == label])
            assert found.count == len(own) > 0
            shares = [(own <= edge).mean() for edge in SCORE_EDGES]
            # A score that lies on an edge may fall to either side of it.
            close = np.array([(np.abs(own - edge) < 1e-4).any() for edge in SCORE_EDGES])
            assert np.array(found.shares)[~close] == pytest.approx(np.array(shares)[~close], abs=1e-6)


def test_model_card_has_the_figures_and_the_limits(exported):
    folder, manifest = exported
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# mine 7\n")
    assert f"from one photo or the {FRAMES} frames of a clip" in card
    assert "hall: our own, with consent" in card
    for name in ("held_out/hall", "test@clip"):
        assert any(
            row.startswith(f"| {name} | ") and f"| {100 * manifest.metrics[name]['auc']:.1f}" in row
            for row in card.splitlines()
        )
    assert "`@clip` rows count clips" in card
    assert "int8" in card
    assert card.count("apcer5 (default)") == 2
    assert f"Temperature {manifest.temporal.temperature:.3f}" in card


def test_golden_cases_tell_a_drift_of_the_logits(exported):
    folder, _ = exported
    with np.load(folder / "golden.npz") as golden:
        for name in ("scores_fp32", "scores_int8", "clip_scores_fp32", "clip_scores_int8"):
            scores = golden[name]
            shifted = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + 0.1)))
            assert np.abs(shifted - scores).max() > 1e-3, name
        clips, count = golden["clips"], len(golden["crops"])
    assert clips.shape == (6, FRAMES)
    assert set(np.unique(clips)) <= set(range(count))
    assert any(len(set(clip)) > 1 for clip in clips.tolist())


def test_head_without_an_honest_threshold_is_left_out_and_said_to_be(
    crops, runs, exported, tmp_path, caplog, monkeypatch
):
    run, held_out = runs
    # The networks of that run are exported already, which takes seconds and is not the matter here.
    files = {"image": "encoder.onnx", "embedding": "classifier.onnx"}
    monkeypatch.setattr(photo, "to_onnx", lambda *given, **_: (exported[0] / files[given[2]]).read_bytes())
    dev = set(run.protocol(crops).dev)
    # The same people, whose pictures are no longer known to be of one recording.
    samples = [replace(sample, sequence="") if row in dev else sample for row, sample in enumerate(crops.samples)]
    pictures = CropSet(tuple(samples), crops.missed, crops.crops_MVSS3)
    with caplog.at_level(logging.WARNING, "liveness_training"):
        manifest = export_bundle(
            run, pictures, tmp_path / "b", name="b", version="1", precisions=["fp32"], held_out=[held_out]
        )
    assert "temporal head is left out" in caplog.text
    assert manifest.temporal is None
    assert manifest.reference_scores.clip is None
    assert not (tmp_path / "b" / "temporal.onnx").exists()
    assert not [name for name in manifest.metrics if name.endswith("@clip")]
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert "had a temporal head, which is left out" in card
    assert "scores photos only" in card
    assert load_bundle(tmp_path / "b").clip_scorer is None


@pytest.mark.parametrize("field", ["steps", "seed", "preprocessing"])
def test_run_of_another_recipe_is_not_taken_for_a_held_out_figure(runs, field):
    run, other = runs
    if field == "preprocessing":
        other = replace(other, preprocess=PreprocessSpec(size=32, margin=1.5))
    else:
        other = replace(other, config=other.config.model_copy(update={field: 99}))
    with pytest.raises(ExportError, match=rf"another recipe than .* \({field}\)"):
        held_out_figures(run, [other], clips=True)


def test_photos_of_a_frozen_run_have_the_held_out_figures_of_the_run_it_started_from(runs):
    """It changed nothing of what scores them; clips it scores by a head that the held-out run does not have."""
    run, other = runs
    head = replace(run, config=run.config.model_copy(update={"frozen": True, "steps": 99}), init_run=run.summary())
    assert "held_out/hall" in held_out_figures(head, [other], clips=True)
    longer = replace(other, config=other.config.model_copy(update={"steps": other.config.steps + 1}))
    with pytest.raises(ExportError, match=r"another recipe than .* \(steps\)"):
        held_out_figures(head, [longer], clips=True)


def test_a_shorter_run_may_stand_for_a_longer_one_and_the_figures_say_so(runs):
    run, other = runs
    longer = replace(run, config=run.config.model_copy(update={"steps": run.config.steps + 1}))
    assert held_out_figures(longer, [other], clips=True)["held_out/hall"]["steps"] == other.config.steps
    assert "steps" not in held_out_figures(run, [other], clips=True)["held_out/hall"]


def test_how_training_was_carried_out_is_no_part_of_the_recipe(runs):
    run, other = runs
    elsewhere = replace(other, config=other.config.model_copy(update={"device": "cuda", "workers": 8}))
    assert "held_out/hall" in held_out_figures(run, [elsewhere], clips=True)


def test_run_that_has_not_ended_is_named(crops, runs, tmp_path):
    with pytest.raises(RunError, match=r"run\.json is missing"):
        RunFolder.read(tmp_path)
    (tmp_path / "run.json").write_text((runs[0].path / "run.json").read_text())
    unfinished = RunFolder.read(tmp_path)
    with pytest.raises(RunError, match=r"metrics\.json is missing"):
        unfinished.metrics()
    with pytest.raises(RunError, match=r"weights\.pt is missing"):
        export_bundle(unfinished, crops, tmp_path / "bundle", name="b", version="1", precisions=["fp32"])
    assert not (tmp_path / "bundle").exists()
