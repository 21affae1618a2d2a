"""From torch to ONNX: what is exported computes the same, or is refused.

Folded norms, int8, float16 and the temporal head are shown by test_bundle.py too; here, with `slow`, one by one.
"""

from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_training.export import photo
from liveness_training.export.networks import ExportError, to_fp16, to_int8, to_onnx
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from liveness_training.models.network import EncoderName, ImageNetwork, TemporalHead
from liveness_training.models.resnet import ResNetEncoder, _BasicBlock, _Bottleneck
from support.networks import SmallEncoder

# B clips, T=8 frames, D embedding

pytestmark = pytest.mark.usefixtures("operators_are_read_once")


def with_lived_in_norms(module):
    """Batch norms as after training: else folding them changes nothing that could be seen."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.1)
    return module.eval()


def operators(content):
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


def test_every_encoder_that_can_be_trained_can_be_exported_as_int8():
    assert set(photo._FLOAT_CONVOLUTIONS) == set(get_args(EncoderName))


class Unfaithful(nn.Module):
    """Computes something else while it is exported."""

    def forward(self, x):
        return x * (2.0 if torch.compiler.is_exporting() else 1.0)


def test_export_that_computes_something_else_is_refused():
    with pytest.raises(ExportError, match="differs from torch"):
        to_onnx(Unfaithful(), torch.ones(8, 3), "x", ["y"])


@pytest.mark.slow
def test_embeddings_of_a_fixed_length_keep_it_in_the_exported_network():
    encoder = ImageNetwork(SmallEncoder(), feature_scale=12.0).eval().encoder
    images, names = torch.randn(8, 3, 16, 16), ["embedding", "features"]
    content = to_onnx(encoder, images, "image", names, relative_outputs=names)
    found = OrtSession(content, RuntimeOptions("cpu")).run({"image": images.numpy()}, ["embedding"])[0]
    assert np.linalg.norm(found, axis=1) == pytest.approx(12, abs=1e-3)


class SlightlyOff(nn.Module):
    """Two outputs of about 20, both off by 5e-4 once exported."""

    def forward(self, x):
        x = x + (5e-4 if torch.compiler.is_exporting() else 0.0)
        return x * 1.0, x + 0.0


@pytest.mark.slow
def test_only_what_no_score_depends_on_may_differ_by_more(monkeypatch):
    example = torch.full((8, 3), 20.0)
    export, made = torch.onnx.export, []

    def exported_once(*given, **options):
        """The check is what differs below; what it is given is the same each time, and takes a second to make."""
        if not made:
            made.append(export(*given, **options))
        return made[0]

    monkeypatch.setattr(torch.onnx, "export", exported_once)
    with pytest.raises(ExportError, match=r"first differs from torch by 5\.\d+e-04 at batch 1, allowed are 1\.00e-04"):
        to_onnx(SlightlyOff(), example, "x", ["first", "second"], relative_outputs=["second"])
    assert to_onnx(SlightlyOff(), example, "x", ["first", "second"], relative_outputs=["first", "second"])
    with pytest.raises(ExportError, match="differs"):
        to_onnx(SlightlyOff(), example / 10, "x", ["first", "second"], relative_outputs=["first", "second"])


class Shuffled(nn.Module):
    """Defines its layers in another order than it runs them: the batch norm does not follow that convolution."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 1)
        self.bn1 = nn.BatchNorm2d(3)

    def forward(self, x):
        return torch.relu(self.conv1(torch.relu(self.bn1(x))))


@pytest.mark.slow
def test_batch_norm_folded_into_the_wrong_convolution_is_noticed():
    with pytest.raises(ExportError, match="differs from torch"):
        to_onnx(with_lived_in_norms(Shuffled()), torch.randn(8, 3, 4, 4), "x", ["y"])


def test_example_too_short_for_the_check_is_refused():
    with pytest.raises(ValueError, match="7 rows, the check needs 8"):
        to_onnx(nn.Linear(3, 2), torch.ones(7, 3), "x", ["y"])


def test_network_in_training_mode_is_exported_in_evaluation_mode():
    network = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2))
    example = torch.randn(8, 3)
    content = to_onnx(network, example, "x", ["y"])
    assert network.training  # the caller's own is left as it was
    expected = network.eval()(example).detach().numpy()
    assert OrtSession(content).run({"x": example.numpy()}, ["y"])[0] == pytest.approx(expected, abs=1e-5)


class ShortMobileNet(MobileNetV2Encoder):
    """Its first three blocks, with two paddings at the right and the bottom, and its wide last layer.

    The whole of it is exported, compared and quantised in test_bundle.py.
    """

    def __init__(self):
        super().__init__("tensorflow")
        widened = nn.Conv2d(24, 320, 1, bias=False), nn.BatchNorm2d(320)
        self.features = nn.Sequential(*self.features[:4], *widened, self.features[-1])


@pytest.fixture(scope="module")
def exported_mobilenet():
    encoder = with_lived_in_norms(ShortMobileNet())
    example = torch.randn(8, 3, 64, 64)
    return encoder, example, to_onnx(encoder, example, "image", ["embedding", "features"])


@pytest.mark.slow
def test_batch_norms_are_folded_and_asymmetric_padding_survives(exported_mobilenet):
    encoder, example, content = exported_mobilenet
    assert "BatchNormalization" not in operators(content)
    with torch.inference_mode():
        expected = encoder(example)[0].numpy()
    assert OrtSession(content).run({"image": example.numpy()}, ["embedding"])[0] == pytest.approx(expected, abs=1e-4)


def quantised(content):
    """For each convolution whether its weights are integers."""
    model = onnx.load_from_string(content)
    floats = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT}
    return [node.input[1] not in floats for node in model.graph.node if node.op_type == "Conv"]


@pytest.mark.slow
def test_first_convolutions_stay_in_float(exported_mobilenet):
    _, example, fp32 = exported_mobilenet
    integers = quantised(to_int8(fp32, [example.numpy()], float_convolutions=6))
    assert integers == [False] * 6 + [True] * (len(integers) - 6)


@pytest.mark.slow
def test_half_precision_takes_and_gives_float32_and_stays_close(exported_mobilenet):
    _, example, fp32 = exported_mobilenet
    fp16 = to_fp16(fp32)
    assert len(fp16) < 0.6 * len(fp32)
    session, reference = OrtSession(fp16), OrtSession(fp32)
    assert [each.dtype for each in (*session.inputs, *session.outputs)] == ["float32"] * 3
    assert [each.shape for each in session.outputs] == [each.shape for each in reference.outputs]
    names = ["embedding", "features"]
    for actual, expected in zip(
        *(each.run({"image": example.numpy()}, names) for each in (session, reference)), strict=True
    ):
        assert 0 < np.abs(actual - expected).max() < 0.01 * np.abs(expected).max()


class SmallResNet(nn.Module):
    """A stem, and a block of each kind with its shortcut, under torchvision's names."""

    def __init__(self):
        super().__init__()
        stem = ResNetEncoder(18)
        self.conv1, self.bn1, self.relu = stem.conv1, stem.bn1, stem.relu
        self.layer1 = nn.Sequential(_BasicBlock(64, 16, 2), _BasicBlock(16, 16, 1))
        self.layer2 = nn.Sequential(_Bottleneck(16, 8, 2))

    def forward(self, image):
        features = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(image)))))
        return features.mean((2, 3)), features


@pytest.mark.slow
def test_batch_norms_of_residual_blocks_are_folded():
    network = with_lived_in_norms(SmallResNet())
    example = torch.randn(8, 3, 32, 32)
    content = to_onnx(network, example, "image", ["embedding", "features"])
    assert "BatchNormalization" not in operators(content)
    assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules())  # those of the caller stay
    with torch.inference_mode():
        expected = network(example)[0].numpy()
    assert OrtSession(content).run({"image": example.numpy()}, ["embedding"])[0] == pytest.approx(expected, abs=1e-4)
    assert quantised(to_int8(content, [example.numpy()], float_convolutions=1)) == [False] + [True] * 9


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3, 8, 20])
def test_temporal_head_computes_the_same_at_every_batch(exported_head, batch):
    head, content = exported_head
    embeddings_BTD = torch.randn(batch, 8, 24)
    with torch.inference_mode():
        expected = head(embeddings_BTD).numpy()
    [logits] = OrtSession(content).run({"embeddings": embeddings_BTD.numpy()}, ["logits"])
    assert logits == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_temporal_head_heeds_the_order_of_frames(exported_head):
    _, content = exported_head
    embeddings_BTD = np.random.default_rng(0).normal(size=(1, 8, 24)).astype(np.float32)
    [forwards], [backwards] = (
        OrtSession(content).run({"embeddings": each}, ["logits"])
        for each in (embeddings_BTD, np.ascontiguousarray(embeddings_BTD[:, ::-1]))
    )
    assert np.abs(forwards - backwards).max() > 1e-3


@pytest.fixture(scope="module")
def exported_head():
    torch.manual_seed(0)
    head = TemporalHead(24, 16, dropout=0.5)
    return head.eval(), to_onnx(head, torch.randn(8, 8, 24), "embeddings", ["logits"])
