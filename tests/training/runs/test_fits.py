"""What is fitted after or beside the training of a photo's network: classifiers of a teacher and of grey pictures."""

import numpy as np
import pytest
import torch

from support.networks import teacher_network
from support.training_run import run, same, weights

pytestmark = pytest.mark.usefixtures("short_networks")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_share_of_the_teachers_classifier_has_no_part_in_training(tmp_path):
    """So that another one can be taken afterwards: recipes/default/classifier_shares.py."""
    teacher = [teacher_network(tmp_path / "teacher.onnx", np.eye(3) / 50)]
    image_alone = ("steps=3", "dib=false", "lstm=false", "dvb=false", "distillation=1.0")
    stored = {}
    for share in (0, 1):
        folder = tmp_path / f"run{share}"
        run(folder, *image_alone, f"distillation_share={share}.0", teacher=teacher)
        stored[share] = torch.load(folder / "weights.pt", weights_only=True)
    labels, head = (
        {f"classifier.{name}": value for name, value in stored[0]["classifiers"][kind].items()}
        for kind in ("labels", "marks")
    )
    assert not torch.equal(labels["classifier.weight"], head["classifier.weight"])
    assert same(stored[0]["network"], {**stored[1]["network"], **labels})
    assert same(stored[1]["network"], {**stored[0]["network"], **head})


@pytest.mark.slow
def test_fit_to_grey_pictures_changes_the_classifier_and_nothing_else(tmp_path):
    image_alone = ("steps=3", "dib=false", "lstm=false", "dvb=false")
    run(tmp_path / "plain", *image_alone)
    run(tmp_path / "fitted", *image_alone, "grey_weight=0.2")
    plain, fitted = (weights(tmp_path / name) for name in ("plain", "fitted"))
    changed = {name for name in plain if not torch.equal(plain[name], fitted[name])}
    assert changed == {"network.classifier.weight", "network.classifier.bias"}
