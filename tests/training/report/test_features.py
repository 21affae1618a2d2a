import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from liveness_training.report import plots
from liveness_training.report.features import FeatureSample, compared
from liveness_training.runs.folder import RunError, RunFolder
from support.training_run import recordings, run

pytestmark = pytest.mark.usefixtures("short_networks")


def sample(domains=("office", "hall", "street")):
    """Three domains, the last of them the target; live and print of each."""
    points = np.random.default_rng(0).normal(size=(60, 2))
    names = [domains[place % 3] for place in range(60)]
    species = ["live" if place % 2 else "print" for place in range(60)]
    return FeatureSample(points, tuple(species), tuple(names), np.array([place % 3 == 2 for place in range(60)]))


def drawn(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_sources_can_be_told_apart_and_the_target_is_in_a_and_c_alone():
    assert plots.features(sample()) != plots.features(sample(("office", "office", "street")))
    one, moved = sample(), sample()
    moved.points_M2[moved.target_M] *= 0.5  # away from the edges, so that the axes stay the same
    first, second = (drawn(plots.figure_4(each, each)) for each in (one, moved))
    thirds = [np.array_split(picture, 3, axis=1) for picture in (first, second)]
    same = [np.array_equal(left, right) for left, right in zip(*thirds, strict=True)]
    assert same == [False, True, False]


def test_two_runs_are_laid_out_on_the_same_crops_and_others_are_refused(tmp_path):
    run(tmp_path / "baseline", "hold_out=hall", "lstm=false", "dvb=false", "steps=1")
    shutil.copytree(tmp_path / "baseline", tmp_path / "full")
    trained = torch.load(tmp_path / "full" / "weights.pt", weights_only=True)
    random = torch.Generator().manual_seed(2)
    for name, value in trained["network"].items():
        if name.endswith("weight"):
            value += 0.1 * torch.randn(value.shape, generator=random)
    torch.save(trained, tmp_path / "full" / "weights.pt")
    crops = recordings()
    baseline, full = (RunFolder.read(tmp_path / name) for name in ("baseline", "full"))
    other = replace(baseline, config=baseline.config.model_copy(update={"hold_out": ()}))
    first, second = compared(baseline, full, crops, crops)
    assert first.domain_M == second.domain_M
    assert {domain for domain, held_out in zip(first.domain_M, first.target_M, strict=True) if held_out} == {"hall"}
    assert not np.array_equal(first.points_M2, second.points_M2)
    with pytest.raises(RunError, match="have other sources"):
        compared(baseline, other, crops, crops)
    with pytest.raises(RunError, match="no target to show"):
        compared(other, baseline, crops, crops)
