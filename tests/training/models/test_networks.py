import pytest
import torch
from torch import nn

from liveness_training.models.efficientnet_lite import EfficientNetLiteEncoder
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from liveness_training.models.network import (
    ImageNetwork,
    LivenessClassifier,
    TemporalHead,
    channels_last,
    create_encoder,
)
from liveness_training.models.resnet import ResNetEncoder


def lively(padding="torchvision"):
    """An encoder whose random weights keep the size of what passes through them; torch's own let it fade to nothing."""
    torch.manual_seed(0)
    encoder = MobileNetV2Encoder(padding)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return encoder.eval()


@pytest.fixture(scope="module")
def encoder():
    return lively()


def test_names_and_shapes_are_torchvisions(encoder):
    state = encoder.state_dict()
    assert len(state) == 52 * 6  # 52 convolutions, each followed by a batch norm of five tensors
    shapes = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_mean": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.bias": (16,),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.14.conv.1.1.num_batches_tracked": (),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.running_var": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
        "features.18.1.weight": (1280,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_size_is_that_of_the_paper(encoder):
    # torchvision's mobilenet_v2 has 3,504,872 parameters, 1,281,000 of them in its classifier of 1,000 classes.
    assert sum(weight.numel() for weight in encoder.parameters()) == 3_504_872 - 1_281_000


@pytest.mark.parametrize("padding", ["torchvision", "tensorflow"])
@pytest.mark.parametrize("size", [32, 96])
def test_embedding_is_the_mean_of_the_features(padding, size):
    with torch.no_grad():
        embedding, features = lively(padding)(torch.randn(2, 3, size, size))
    assert features.shape == (2, 1280, size // 32, size // 32)
    assert embedding.shape == (2, 1280)
    torch.testing.assert_close(embedding, features.flatten(2).mean(2))
    assert 0 == features.min() < features.max() <= 6  # ReLU6 is last


def test_224_gives_7_by_7(encoder):
    with torch.no_grad():
        _, features = encoder(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, 1280, 7, 7)


def test_tensorflow_pads_at_the_right_and_the_bottom():
    # A first convolution that picks the top-left place of its window: with the padding at the right and the bottom that
    # is the picture's own first pixel, with one on each side it is padding.
    picture = torch.zeros(1, 3, 32, 32)
    picture[0, :, 0, 0] = 1.0
    seen = {}
    for padding in ("torchvision", "tensorflow"):
        convolution = MobileNetV2Encoder(padding).features[0][0]
        nn.init.zeros_(convolution.weight)
        with torch.no_grad():
            convolution.weight[:, :, 0, 0] = 1.0
            seen[padding] = convolution(picture)[0, 0]
    assert seen["tensorflow"].shape == seen["torchvision"].shape == (16, 16)
    assert seen["tensorflow"][0, 0] == 3
    assert seen["torchvision"].abs().sum() == 0


def test_weights_pass_between_the_paddings(encoder):
    other = MobileNetV2Encoder("tensorflow")
    other.load_state_dict(encoder.state_dict())


def test_blocks_of_equal_shape_are_residual(encoder):
    block = encoder.features[3]  # 24 to 24 channels, stride 1
    x = torch.randn(1, 24, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x + block.conv(x))
        wider = encoder.features[2]  # 16 to 24 channels, stride 2
        assert wider(torch.randn(1, 16, 8, 8)).shape == (1, 24, 4, 4)


def test_network_gives_two_logits_of_the_embedding(encoder):
    network = ImageNetwork(encoder, dropout=0.5).eval()
    image = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits = network(image)
        torch.testing.assert_close(logits, network.classifier(encoder(image)[0]))
    assert logits.shape == (3, 2)


def test_dropout_is_active_in_training_only():
    network = ImageNetwork(lively(), dropout=0.9)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        network.eval()
        torch.testing.assert_close(network(image), network(image))
        network.dropout.train()
        assert not torch.allclose(network(image), network(image))


def test_classifier_is_linear():
    classifier = LivenessClassifier(5)
    assert classifier(torch.zeros(3, 5)).shape == (3, 2)
    assert set(classifier.state_dict()) == {"weight", "bias"}


def test_memory_layout_does_not_change_the_output(encoder):
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = encoder(image)[0]
        moved = channels_last(MobileNetV2Encoder().eval())
        moved.load_state_dict(encoder.state_dict())
        after = moved(image.to(memory_format=torch.channels_last))[0]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_lite0_has_the_names_and_the_size_of_its_published_weights():
    encoder = EfficientNetLiteEncoder().eval()
    state = encoder.state_dict()
    shapes = {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_bn0.running_mean": (32,),
        "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
        "_blocks.0._project_conv.weight": (16, 32, 1, 1),
        "_blocks.1._expand_conv.weight": (96, 16, 1, 1),
        "_blocks.3._depthwise_conv.weight": (144, 1, 5, 5),
        "_blocks.15._bn2.bias": (320,),
        "_conv_head.weight": (1280, 320, 1, 1),
        "_bn1.num_batches_tracked": (),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert len(state) == 294  # the file has 296 with its last layer of 1,000 classes
    assert sum(weight.numel() for weight in encoder.parameters()) == 4_652_008 - 1_281_000
    with torch.no_grad():
        embedding, features = encoder(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 1280, 2, 2)
    torch.testing.assert_close(embedding, features.mean((2, 3)))


@pytest.mark.parametrize(("kernel", "first"), [(3, 0), (5, 1)])
def test_lite0_pads_more_at_the_right_and_the_bottom(kernel, first):
    """Where stride 2 leaves an odd pixel to pad: the window's place `first` lies on the picture's own first pixel."""
    encoder = EfficientNetLiteEncoder()
    convolution = encoder._conv_stem if kernel == 3 else encoder._blocks[3]._depthwise_conv
    picture = torch.zeros(1, 3 if kernel == 3 else 144, 8, 8)
    picture[0, :, 0, 0] = 1.0
    with torch.no_grad():
        nn.init.zeros_(convolution.weight)
        convolution.weight[:, :, first, first] = 1.0
        seen = convolution(picture)[0, 0]
    assert seen.shape == (4, 4)
    assert seen[0, 0] == (3 if kernel == 3 else 1)
    assert seen.sum() == seen[0, 0]


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
        pytest.param(34, (3, 4, 6, 3), 2, False, 21_284_672, 512, marks=pytest.mark.slow),
        pytest.param(50, (3, 4, 6, 3), 3, True, 23_508_032, 2048, marks=pytest.mark.slow),
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
    with torch.device("meta"):  # without the numbers
        block = ResNetEncoder(50).layer2[0]
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]
    assert block.conv1.weight.shape == (128, 256, 1, 1)
    assert block.conv3.weight.shape == (512, 128, 1, 1)


@pytest.mark.parametrize(
    ("name", "dim"),
    [("mobilenet_v2", 1280), ("efficientnet_lite0", 1280), ("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)],
)
def test_encoders_are_made_by_name(name, dim):
    with torch.device("meta"):  # without the numbers
        assert create_encoder(name).embedding_dim == dim


def head(**sizes):
    torch.manual_seed(0)
    return TemporalHead(6, **sizes).eval()


def test_a_clip_gets_one_label():
    assert head()(torch.randn(3, 8, 6)).shape == (3, 2)


def test_sizes_are_the_papers():
    lstm = TemporalHead(2048).lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bidirectional) == (2048, 256, 1, False)


def test_order_of_frames_matters_and_every_frame_counts():
    clip = torch.randn(1, 8, 6)
    made = head(hidden=4)
    with torch.no_grad():
        expected = made(clip)
        assert not torch.allclose(made(clip.flip(1)), expected)
        for place in range(8):
            changed = clip.clone()
            changed[0, place] += 1
            assert not torch.equal(made(changed), expected)


def test_clips_of_a_batch_do_not_see_each_other():
    clips = torch.randn(3, 8, 6)
    made = head()
    with torch.no_grad():
        torch.testing.assert_close(made(clips)[1:2], made(clips[1:2]))


def test_classifier_judges_the_state_after_the_last_frame():
    made, clips = head(), torch.randn(2, 8, 6)
    with torch.no_grad():
        _, (hidden, _) = made.lstm(clips)
        torch.testing.assert_close(made.summarise(clips), hidden[0])
        torch.testing.assert_close(made(clips), made.classifier(hidden[0]))
