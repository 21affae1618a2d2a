import pytest
import torch
from torch import nn

from liveness_training.models.network import create_encoder
from liveness_training.models.style_mixing import StyleMixing, mixed

# Two domains, both labels in each; the last picture is the only one of a third domain.
LABEL, DOMAIN = torch.tensor([0, 1, 0, 1, 0]), torch.tensor([0, 0, 1, 1, 2])


def test_a_picture_takes_mean_and_spread_of_the_mixture():
    x = torch.tensor([[[[0.0, 2.0]]], [[[10.0, 30.0]]]])
    # Means 1 and 20, spreads √2 and 10 √2; a quarter of its own style leaves 15.25 ± 7.75.
    found = mixed(x, torch.tensor([1, 1]), torch.tensor([0.25, 0.5]))
    assert found[0].flatten().tolist() == pytest.approx([7.5, 23.0], abs=1e-4)
    assert found[1].flatten().tolist() == pytest.approx([10.0, 30.0], abs=1e-4)


def test_content_and_type_stay():
    x = torch.randn(4, 3, 5, 5)
    found = mixed(x, torch.tensor([1, 2, 3, 0]), torch.rand(4))
    for before, after in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        assert float(torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1]) == pytest.approx(
            1, abs=1e-4
        )
    assert mixed(x.bfloat16(), torch.tensor([1, 2, 3, 0]), torch.rand(4)).dtype == torch.bfloat16


def test_no_gradient_goes_through_the_statistics():
    x = torch.randn(2, 1, 2, 2, requires_grad=True)
    mixed(x, torch.tensor([1, 0]), torch.zeros(2))[0].sum().backward()
    assert not x.grad[1].any()


@pytest.mark.parametrize("partners", ["random", "cross_domain", "same_label"])
def test_partners_are_those_of_the_rule(partners):
    mixing, seen = StyleMixing(partners, 1.0, 0.1), set()
    for seed in range(30):
        torch.manual_seed(seed)
        drawn = mixing._draw_partners(LABEL, DOMAIN)
        seen |= {(row, int(partner)) for row, partner in enumerate(drawn)}
    allowed = {
        "random": {(row, partner) for row in range(5) for partner in range(5)},
        "cross_domain": {(row, to) for row in range(5) for to in range(5) if DOMAIN[row] != DOMAIN[to]},
        "same_label": {(row, to) for row in range(5) for to in range(5) if LABEL[row] == LABEL[to] and row != to},
    }
    assert seen == allowed[partners]


@pytest.mark.parametrize("partners", ["cross_domain", "same_label"])
def test_a_picture_without_a_partner_keeps_its_style(partners):
    label, domain = (
        (torch.zeros(3), torch.ones(3)) if partners == "cross_domain" else (torch.arange(3), torch.arange(3))
    )
    assert StyleMixing(partners, 1.0, 0.1)._draw_partners(label, domain).tolist() == [0, 1, 2]


def test_only_layers_in_training_mix_and_only_within_the_context():
    layer, mixing, x = nn.Conv2d(2, 2, 1), StyleMixing("cross_domain", 1.0, 0.1), torch.randn(5, 2, 4, 4)
    plain = layer(x)
    with mixing.within([layer], LABEL, DOMAIN):
        assert not torch.allclose(layer(x), plain)
        assert torch.equal(layer.eval()(x), plain)
    assert torch.equal(layer.train()(x), plain)


def test_a_seed_gives_the_same_mixture_and_the_probability_how_often():
    mixing, x = StyleMixing("random", 0.5, 0.1), torch.randn(5, 2, 4, 4)
    found = []
    for seed in [*range(80), *range(80)]:
        torch.manual_seed(seed)
        found.append(mixing(x, LABEL, DOMAIN))
    assert all(torch.equal(first, again) for first, again in zip(found[:80], found[80:], strict=True))
    assert 28 < sum(each is not x for each in found[:80]) < 52


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "efficientnet_lite0", "resnet18", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_lower_stages_are_a_quarter_and_an_eighth_as_wide_as_the_picture(name):
    encoder, widths = create_encoder(name).eval(), []
    for layer in encoder.lower_stages:
        layer.register_forward_hook(lambda _layer, _given, output: widths.append(output.shape[-1]))
    encoder(torch.zeros(1, 3, 64, 64))
    assert widths == [16, 8]
