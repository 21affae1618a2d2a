import math

import pytest
import torch
from torch import nn

from liveness_training.models.adversary import (
    ClassConditionalDiscriminator,
    DomainDiscriminator,
    GradientReversal,
    correct_domains,
    domain_energy,
)


@pytest.mark.parametrize("kind", [DomainDiscriminator, ClassConditionalDiscriminator])
def test_two_shared_layers_each_with_relu_and_dropout(kind):
    made = kind(8, 3)
    kinds = [type(layer) for layer in made.trunk]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2
    assert [made.trunk[0].weight.shape, made.trunk[3].weight.shape] == [(512, 8), (512, 512)]
    assert {made.trunk[2].p, made.trunk[5].p} == {0.5}


def test_plain_one_gives_a_score_a_domain():
    assert DomainDiscriminator(8, 3)(torch.randn(5, 8)).shape == (5, 3)


@pytest.mark.parametrize("label", [[0, 1, 0, 1, 1], [0] * 5, [1] * 5])
def test_features_go_to_the_head_of_their_class(label):
    made = ClassConditionalDiscriminator(8, 3).eval()
    feature, label = torch.randn(5, 8), torch.tensor(label)
    live, spoof = made(feature, label)
    assert (len(live), len(spoof)) == (int((label == 0).sum()), int((label == 1).sum()))
    with torch.no_grad():
        shared = made.trunk(feature)
        torch.testing.assert_close(live, made.live_head(shared[label == 0]))
        torch.testing.assert_close(spoof, made.spoof_head(shared[label == 1]))


def test_heads_are_one_linear_layer_each():
    made = ClassConditionalDiscriminator(8, 4, width=16)
    assert isinstance(made.live_head, nn.Linear)
    assert made.live_head.weight.shape == made.spoof_head.weight.shape == (4, 16)
    assert made.live_head is not made.spoof_head


def test_energy_is_a_sum_and_nothing_for_no_feature():
    scores, domain = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 1])
    expected = sum(torch.logsumexp(row, 0) - row[place] for row, place in zip(scores, domain, strict=True))
    torch.testing.assert_close(domain_energy(scores, domain), expected)
    nothing = domain_energy(scores[:0], domain[:0])
    assert nothing == 0
    nothing.backward()
    assert not scores.grad.any()


def test_right_ones_are_counted():
    scores = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert correct_domains(scores, torch.tensor([0, 1, 1])) == 2


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
