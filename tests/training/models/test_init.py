import numpy as np
import pytest
import torch
from torch import nn

from liveness_training.models.init import InitError, load_folded_weights
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from support.pictures import SHARED, astronaut


def folded_network(padding):
    """A MobileNetV2 without batch norms, whose convolutions have biases: what a file of folded weights computes."""
    torch.manual_seed(3)
    network = MobileNetV2Encoder(padding).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
            module.bias = nn.Parameter(torch.randn(module.out_channels) * 0.3)
    return network


def written(network, path, **changes):
    weights = {key: value.numpy() for key, value in network.state_dict().items()} | changes
    np.savez(path, **{key: value for key, value in weights.items() if value is not None})
    return path


def images(count=6, seed=0):
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("padding", ["torchvision", "tensorflow"])
def test_loaded_encoder_computes_what_the_file_does(tmp_path, padding):
    folded = folded_network(padding)
    encoder = MobileNetV2Encoder(padding)
    load_folded_weights(encoder, written(folded, tmp_path / "w.npz"), images())
    encoder.eval()
    for batch in (images(), images(seed=7)):  # the second were not seen when the batch norms were set
        with torch.no_grad():
            expected, actual = folded(batch), encoder(batch)
        torch.testing.assert_close(actual[1], expected[1], rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(actual[0], expected[0], rtol=1e-3, atol=1e-3)
    assert expected[1].std() > 0.1  # not all zeros


def test_first_training_step_starts_from_the_same_output(tmp_path):
    folded = folded_network("torchvision")
    encoder = MobileNetV2Encoder()
    load_folded_weights(encoder, written(folded, tmp_path / "w.npz"), images())
    encoder.train()  # batch statistics of the same images are those that were put in
    with torch.no_grad():
        torch.testing.assert_close(encoder(images())[0], folded(images())[0], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_mode_stays_and_nothing_is_left_hooked(tmp_path, training):
    encoder = MobileNetV2Encoder().train(training)
    load_folded_weights(encoder, written(folded_network("torchvision"), tmp_path / "w.npz"), images(2))
    assert encoder.training is training
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.no_grad():
        encoder.eval()(images(2, seed=1))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_file_may_hold_more_than_the_encoder(tmp_path):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{"classifier.1.weight": np.zeros((1001, 1280))})
    load_folded_weights(MobileNetV2Encoder(), path, images(2))


@pytest.mark.parametrize("key", ["features.0.0.weight", "features.18.0.bias", "features.5.conv.2.weight"])
def test_missing_key_is_named(tmp_path, key):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{key: None})
    with pytest.raises(InitError, match=rf"w\.npz has no '{key}'"):
        load_folded_weights(MobileNetV2Encoder(), path, images(2))


@pytest.mark.parametrize(
    ("key", "shape"), [("features.18.0.weight", (1280, 320, 3, 3)), ("features.1.conv.1.bias", (8,))]
)
def test_wrong_shape_is_named_with_both(tmp_path, key, shape):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{key: np.zeros(shape, np.float32)})
    with pytest.raises(InitError, match=rf"w\.npz: {key} has shape") as raised:
        load_folded_weights(MobileNetV2Encoder(), path, images(2))
    assert str(shape) in str(raised.value)
    assert "expected" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"PK\x03\x04 half an archive"])
def test_file_that_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InitError, match=r"w\.npz cannot be read"):
        load_folded_weights(MobileNetV2Encoder(), path, images(2))


def test_real_weights_load_and_tell_pictures_apart():
    path = SHARED / "init" / "mobilenet_v2_imagenet.npz"
    if not path.is_file():
        pytest.skip("ImageNet weights (../shared/init) are not on this machine")
    encoder = MobileNetV2Encoder("tensorflow")
    pixels = np.stack([astronaut()[y : y + 224, x : x + 224] for y, x in ((0, 0), (20, 100), (200, 40), (280, 280))])
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    load_folded_weights(encoder, path, batch)
    with torch.no_grad():
        embedding, _ = encoder.eval()(batch)
    assert torch.isfinite(embedding).all()
    with np.load(path) as archive:
        rows, bias = archive["classifier.1.weight"], archive["classifier.1.bias"]
    probabilities = torch.softmax(embedding @ torch.from_numpy(rows).T + torch.from_numpy(bias), 1)
    assert probabilities.max(1).values.mean() > 0.2  # of 1,001 classes; noise would give each a few per mille
