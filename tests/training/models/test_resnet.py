import pytest
import torch

from liveness_training.models.network import create_encoder
from liveness_training.models.resnet import ResNetEncoder


def torchvisions_keys(blocks, convolutions, shortcut_of_first):
    """The names of torchvision's ResNets without `fc`, from its layout."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = ["conv1.weight", *(f"bn1.{name}" for name in norm)]
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            prefix = f"layer{layer}.{block}"
            for number in range(1, convolutions + 1):
                keys += [f"{prefix}.conv{number}.weight", *(f"{prefix}.bn{number}.{name}" for name in norm)]
            if block == 0 and (layer > 1 or shortcut_of_first):
                keys += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{name}" for name in norm)]
    return set(keys)


@pytest.mark.parametrize(
    ("depth", "blocks", "convolutions", "shortcut_of_first", "parameters", "dim"),
    [
        (18, (2, 2, 2, 2), 2, False, 11_176_512, 512),
        (34, (3, 4, 6, 3), 2, False, 21_284_672, 512),
        (50, (3, 4, 6, 3), 3, True, 23_508_032, 2048),
    ],
)
def test_names_sizes_and_outputs_are_torchvisions(depth, blocks, convolutions, shortcut_of_first, parameters, dim):
    encoder = ResNetEncoder(depth).eval()
    assert set(encoder.state_dict()) == torchvisions_keys(blocks, convolutions, shortcut_of_first)
    assert sum(weight.numel() for weight in encoder.parameters()) == parameters
    assert encoder.embedding_dim == dim
    with torch.no_grad():
        embedding, features = encoder(torch.randn(2, 3, 64, 64))
    assert embedding.shape == (2, dim)
    assert features.shape == (2, dim, 2, 2)
    torch.testing.assert_close(embedding, features.mean((2, 3)))


def test_bottleneck_has_its_stride_in_the_middle_convolution():
    block = ResNetEncoder(50).layer2[0]
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]
    assert block.conv1.weight.shape == (128, 256, 1, 1)
    assert block.conv3.weight.shape == (512, 128, 1, 1)


@pytest.mark.parametrize(
    ("name", "dim"), [("mobilenet_v2", 1280), ("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_encoders_are_made_by_name(name, dim):
    assert create_encoder(name).embedding_dim == dim
