import math

import pytest
import torch
from torch import nn

from liveness_training.models.mobilenet_v2 import ImageNetwork, MobileNetV2Encoder
from liveness_training.tasks.binary import BinaryTask, logits


class FixedNetwork(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, *rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, image):
        return self.rows


def test_loss_is_cross_entropy_over_live_then_spoof():
    losses = BinaryTask(FixedNetwork([2.0, 0.0], [1.0, 0.5]))(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(0.5))) / 2
    assert losses["loss"].item() == pytest.approx(expected, abs=1e-6)
    assert losses["accuracy"].item() == 0.5


def test_label_smoothing_keeps_the_loss_of_a_certain_answer_above_zero():
    network, label = FixedNetwork([30.0, -30.0]), torch.tensor([0])
    image = torch.zeros(1, 3, 8, 8)
    assert BinaryTask(network)(image, label)["loss"].item() < 1e-6
    assert BinaryTask(network, 0.1)(image, label)["loss"].item() == pytest.approx(0.05 * 60, rel=1e-3)


def test_descending_the_loss_raises_the_logit_of_the_label():
    network = FixedNetwork([0.0, 0.0], [0.0, 0.0])
    BinaryTask(network)(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))["loss"].backward()
    assert (network.rows.grad < 0).tolist() == [[True, False], [False, True]]


def test_loss_of_low_precision_logits_is_computed_in_fp32():
    network = FixedNetwork([2.0, 0.0]).to(torch.bfloat16)
    losses = BinaryTask(network)(torch.zeros(1, 3, 8, 8), torch.tensor([0]))
    assert losses["loss"].dtype == torch.float32


def test_task_holds_the_whole_state():
    network = ImageNetwork(MobileNetV2Encoder())
    assert {f"network.{key}" for key in network.state_dict()} == set(BinaryTask(network).state_dict())


def test_logits_are_those_of_evaluation():
    torch.manual_seed(0)
    network = ImageNetwork(MobileNetV2Encoder(), dropout=0.9).train()
    image = torch.randn(2, 3, 32, 32)
    first, second = logits(network, image), logits(network, image)
    torch.testing.assert_close(first, second)
    assert not first.requires_grad
