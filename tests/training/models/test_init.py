from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from liveness_training.models.init import InitError, load_initial_weights
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from liveness_training.models.network import create_encoder
from support.pictures import SHARED, astronaut


@cache  # nobody changes it
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


@pytest.mark.parametrize("padding", ["torchvision", pytest.param("tensorflow", marks=pytest.mark.slow)])
def test_loaded_encoder_computes_what_the_file_does(tmp_path, padding):
    folded = folded_network(padding)
    encoder = MobileNetV2Encoder(padding)
    load_initial_weights(encoder, written(folded, tmp_path / "w.npz"), images())
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
    load_initial_weights(encoder, written(folded, tmp_path / "w.npz"), images())
    encoder.train()  # batch statistics of the same images are those that were put in
    with torch.no_grad():
        torch.testing.assert_close(encoder(images())[0], folded(images())[0], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_mode_stays_and_nothing_is_left_hooked(tmp_path, training):
    encoder = MobileNetV2Encoder().train(training)
    load_initial_weights(encoder, written(folded_network("torchvision"), tmp_path / "w.npz"), images(2))
    assert encoder.training is training
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.no_grad():
        encoder.eval()(images(2, seed=1))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_file_may_hold_more_than_the_encoder(tmp_path):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{"classifier.1.weight": np.zeros((1001, 1280))})
    load_initial_weights(MobileNetV2Encoder(), path, images(2))


@pytest.mark.parametrize(
    "key",
    [
        "features.18.0.bias",
        *(pytest.param(key, marks=pytest.mark.slow) for key in ("features.0.0.weight", "features.5.conv.2.weight")),
    ],
)
def test_missing_key_is_named(tmp_path, key):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{key: None})
    with pytest.raises(InitError, match=rf"w\.npz has no '{key}'"):
        load_initial_weights(MobileNetV2Encoder(), path, images(2))


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        pytest.param("features.18.0.weight", (1280, 320, 3, 3), marks=pytest.mark.slow),
        ("features.1.conv.1.bias", (8,)),
    ],
)
def test_wrong_shape_is_named_with_both(tmp_path, key, shape):
    path = written(folded_network("torchvision"), tmp_path / "w.npz", **{key: np.zeros(shape, np.float32)})
    with pytest.raises(InitError, match=rf"w\.npz: {key} has shape") as raised:
        load_initial_weights(MobileNetV2Encoder(), path, images(2))
    assert str(shape) in str(raised.value)
    assert "expected" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"PK\x03\x04 half an archive"])
def test_file_that_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InitError, match=r"w\.npz cannot be read"):
        load_initial_weights(MobileNetV2Encoder(), path, images(2))


@pytest.mark.slow
def test_real_weights_load_and_tell_pictures_apart():
    path = SHARED / "init" / "mobilenet_v2_imagenet.npz"
    if not path.is_file():
        pytest.skip("ImageNet weights (../shared/init) are not on this machine")
    encoder = MobileNetV2Encoder("tensorflow")
    pixels = np.stack([astronaut()[y : y + 224, x : x + 224] for y, x in ((0, 0), (20, 100), (200, 40), (280, 280))])
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    load_initial_weights(encoder, path, batch)
    with torch.no_grad():
        embedding, _ = encoder.eval()(batch)
    assert torch.isfinite(embedding).all()
    with np.load(path) as archive:
        rows, bias = archive["classifier.1.weight"], archive["classifier.1.bias"]
    probabilities = torch.softmax(embedding @ torch.from_numpy(rows).T + torch.from_numpy(bias), 1)
    assert probabilities.max(1).values.mean() > 0.2  # of 1,001 classes; noise would give each a few per mille


def state_file(folder, encoder, kind, **changes):
    """The encoder's whole state dict as a file, with a last layer as torchvision's have one."""
    state = {**encoder.state_dict(), "fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000), **changes}
    state = {key: value for key, value in state.items() if value is not None}
    path = folder / f"weights.{kind}"
    if kind == "npz":
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    else:
        torch.save(state, path)
    return path


@cache  # nobody changes it
def lived_in(name):
    torch.manual_seed(1)
    encoder = create_encoder(name)
    for value in encoder.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand_like(value) + 0.1)
    return encoder


QUICK = {("resnet18", "pth"), ("mobilenet_v2", "npz")}
"""Each kind of content once; a `.pt` is a `.pth`."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
        for case in product(("resnet18", "mobilenet_v2", "efficientnet_lite0"), ("pth", "pt", "npz"))
    ],
)
def test_whole_state_dict_is_loaded_whatever_its_last_layer(tmp_path, name, kind):
    source, encoder = lived_in(name), create_encoder(name)
    load_initial_weights(encoder, state_file(tmp_path, source, kind), images(2))
    for key, value in source.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value), key


def test_half_precision_weights_and_missing_counters_are_taken(tmp_path):
    source, encoder = lived_in("resnet18"), create_encoder("resnet18")
    changes = {
        key: None if key.endswith("num_batches_tracked") else value.bfloat16()
        for key, value in source.state_dict().items()
    }
    load_initial_weights(encoder, state_file(tmp_path, source, "pth", **changes), images(2))
    torch.testing.assert_close(encoder.conv1.weight, source.conv1.weight, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layer3.0.conv1.weight": None}, "has no 'layer3.0.conv1.weight'"),
        pytest.param(
            {"layer5.0.conv1.weight": torch.zeros(1)},
            "has 'layer5.0.conv1.weight', which the encoder has not",
            marks=pytest.mark.slow,
        ),
        (
            {"conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"conv1.weight has shape \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told_by_key(tmp_path, changes, told):
    encoder = create_encoder("resnet18")
    before = encoder.conv1.weight.clone()
    with pytest.raises(InitError, match=told):
        load_initial_weights(encoder, state_file(tmp_path, lived_in("resnet18"), "pth", **changes), images(2))
    assert torch.equal(encoder.conv1.weight, before)


def test_weights_of_another_encoder_are_refused(tmp_path):
    with pytest.raises(InitError, match="of the encoder that the settings name"):
        load_initial_weights(
            create_encoder("mobilenet_v2"), state_file(tmp_path, lived_in("resnet18"), "pth"), images(2)
        )


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_file_that_is_no_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"model": {"a": 1}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InitError, match=r"weights\.pth"):
        load_initial_weights(create_encoder("resnet18"), path, images(2))


@pytest.mark.slow
def test_folded_weights_of_a_resnet_give_batch_norms_that_compute_the_same(tmp_path):
    torch.manual_seed(0)
    whole = create_encoder("resnet18").eval()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    folded = {}
    convolutions = [(name, module) for name, module in whole.named_modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in whole.modules() if isinstance(module, nn.BatchNorm2d)]
    for (name, convolution), norm in zip(convolutions, norms, strict=True):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        folded[f"{name}.weight"] = (convolution.weight * scale[:, None, None, None]).detach().numpy()
        folded[f"{name}.bias"] = (norm.bias - norm.running_mean * scale).detach().numpy()
    np.savez(tmp_path / "folded.npz", **folded)
    encoder = create_encoder("resnet18")
    load_initial_weights(encoder, tmp_path / "folded.npz", images())
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(images())[0], whole(images())[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("new_format", [pytest.param(True, marks=pytest.mark.slow), False])
def test_weights_saved_as_parameters_are_taken(tmp_path, new_format):
    """As torchvision's older files hold them."""
    source, encoder = lived_in("resnet18"), create_encoder("resnet18")
    state = {**dict(source.named_parameters()), **dict(source.named_buffers())}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    load_initial_weights(encoder, tmp_path / "w.pth", images(2))
    assert torch.equal(encoder.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert all(weight.requires_grad and weight.is_leaf for weight in encoder.parameters())


@pytest.mark.parametrize("value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)])
def test_weights_that_are_no_numbers_are_refused_by_key(tmp_path, value):
    source = lived_in("resnet18")
    damaged = source.layer2[0].conv1.weight.detach().clone()
    damaged[3, 1, 0, 2] = value
    path = state_file(tmp_path, source, "pth", **{"layer2.0.conv1.weight": damaged})
    with pytest.raises(InitError, match=r"weights\.pth: layer2\.0\.conv1\.weight holds values that are not finite"):
        load_initial_weights(create_encoder("resnet18"), path, images(2))
