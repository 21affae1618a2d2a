import math

import pytest
import torch

from liveness_training.models.gradient_reversal import GradientReversal


def gradient_through(layer):
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = layer(x)
    assert torch.equal(y, x)
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    return x.grad


@pytest.mark.parametrize("factor", [-0.2, -1.0, 0.0])
def test_values_pass_and_gradients_are_multiplied(factor):
    torch.testing.assert_close(gradient_through(GradientReversal(factor)), factor * torch.tensor([3.0, 5.0]))


def test_default_is_the_papers_constant():
    layer = GradientReversal()
    for _ in range(3):
        assert layer.current_factor() == -0.2
        layer.advance()


def test_dann_ramps_from_nothing_to_the_whole_factor():
    layer = GradientReversal(-0.5, "dann", steps=10)
    seen = []
    for _ in range(13):
        seen.append(layer.current_factor())
        layer.advance()
    assert seen[0] == 0
    expected = [-0.5 * (2 / (1 + math.exp(-10 * min(step / 10, 1.0))) - 1) for step in range(13)]
    assert seen == pytest.approx(expected)
    assert seen[10] == seen[12] == pytest.approx(-0.5, abs=1e-4)
    torch.testing.assert_close(gradient_through(layer), seen[-1] * torch.tensor([3.0, 5.0]))


def test_step_is_state():
    layer = GradientReversal(-0.5, "dann", steps=10)
    for _ in range(4):
        layer.advance()
    other = GradientReversal(-0.5, "dann", steps=10)
    other.load_state_dict(layer.state_dict())
    assert other.current_factor() == layer.current_factor() != 0


def test_factor_that_would_not_reverse_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        GradientReversal(0.2)
