import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError
from liveness_training.evaluation.report import run_report
from liveness_training.models.mobilenet_v2 import ImageNetwork, MobileNetV2Encoder, channels_last
from liveness_training.protocols import make_protocol
from liveness_training.run import git_commit, score_rows, train
from support.pictures import astronaut

SPEC = PreprocessSpec(size=32)


def trained(crops, folder, workers=0, **fields):
    settings = {"steps": 2, "batch_size": 8, "precision": "fp32", "warmup_steps": 1, **fields}
    return train(
        crops, TrainConfig(**settings), folder, preprocess=SPEC, detector=DetectorSpec(), init=None, workers=workers
    )


def test_run_leaves_weights_settings_log_and_figures(crops, tmp_path):
    report = trained(crops, tmp_path / "runs" / "a", hold_out="hall", seed=3)
    folder = tmp_path / "runs" / "a"
    assert json.loads((folder / "metrics.json").read_text()) == report
    assert set(report) == {"test", "test/office", "held_out/hall"}
    assert report["held_out/hall"]["images"] == 40
    assert report["held_out/hall"]["apnrr"] == pytest.approx(1 / 21)
    settings = json.loads((folder / "run.json").read_text())
    assert TrainConfig(**settings["config"]).seed == 3
    assert PreprocessSpec(**settings["preprocess"]) == SPEC
    assert DetectorSpec(**settings["detector"]) == DetectorSpec()
    assert settings["git_commit"] == git_commit()
    assert settings["libraries"]["torch"] == torch.__version__
    assert len((folder / "log.jsonl").read_text().splitlines()) == 2
    network = ImageNetwork(MobileNetV2Encoder("tensorflow"))
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))


def test_figures_are_those_of_the_saved_weights(crops, tmp_path):
    report = trained(crops, tmp_path / "a")
    network = channels_last(ImageNetwork(MobileNetV2Encoder("tensorflow")))
    network.load_state_dict(torch.load(tmp_path / "a" / "weights.pt", weights_only=True))
    scores = score_rows(network, crops, range(len(crops.samples)), SPEC)
    protocol = make_protocol(crops.samples, crops.missed, None)
    again = run_report(scores, crops, protocol, report["test"]["threshold"])
    assert again["test"]["auc"] == pytest.approx(report["test"]["auc"])
    assert again["test"]["hter_realistic"] == pytest.approx(report["test"]["hter_realistic"])


@pytest.mark.timeout(60)
def test_seed_decides_whatever_the_workers(crops, tmp_path):
    cv2.setNumThreads(2)  # whose threads forked workers must not wait for
    cv2.GaussianBlur(np.concatenate([astronaut()] * 4), (0, 0), 5)
    for name, workers, seed in (("alone", 0, 1), ("worker", 1, 1), ("other", 0, 2)):
        trained(crops, tmp_path / name, workers=workers, seed=seed, steps=1)
    alone, worker, other = (torch.load(tmp_path / name / "weights.pt") for name in ("alone", "worker", "other"))
    assert all(torch.equal(alone[key], worker[key]) for key in alone)
    assert not torch.equal(alone["classifier.weight"], other["classifier.weight"])


def test_scores_are_of_the_services_view_and_in_any_order(crops):
    torch.manual_seed(0)
    network = ImageNetwork(MobileNetV2Encoder("tensorflow"))
    for module in network.modules():  # so that pictures differ in their scores
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    rows = [70, 3, *range(10, 79)]  # more than one batch
    scores = score_rows(network, crops, rows, SPEC)
    assert list(scores) == list(dict.fromkeys(rows))
    assert np.std(list(scores.values())) > 0.001
    only_first = CropSet(crops.samples, (), crops.crops_MVSS3[:, :1])
    assert score_rows(network, only_first, [3], SPEC)[3] == pytest.approx(scores[3], abs=1e-5)
    with torch.no_grad():
        live, spoof = network.eval()(torch.from_numpy(SPEC.to_tensor([crops.crops_MVSS3[3, 0]])))[0].tolist()
    assert scores[3] == pytest.approx(1 / (1 + np.exp(spoof - live)), abs=1e-5)


def test_unknown_hold_out_is_refused(crops, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        trained(crops, tmp_path / "a", hold_out="nowhere")
