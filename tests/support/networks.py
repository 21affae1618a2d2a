"""Networks that are small enough for tests: encoders to train, and a teacher of the form that `--teacher` takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder
from liveness_training.models.network import create_encoder


class SmallEncoder(nn.Module):
    """Two convolutions: image (N, 3, S, S) to embedding (N, D) and features (N, D, S/4, S/4)."""

    def __init__(self, embedding_dim: int = 16, norm: bool = False) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        layers: list[nn.Module] = [nn.Conv2d(3, embedding_dim, 3, 2, 1)]
        if norm:
            layers.append(nn.BatchNorm2d(embedding_dim))
        layers += [nn.ReLU(), nn.Conv2d(embedding_dim, embedding_dim, 3, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute embedding and features."""
        features_NDhw = self.body(image)
        return features_NDhw.mean((2, 3)), features_NDhw


class ShortMobileNet(MobileNetV2Encoder):
    """MobileNetV2's first seven layers, and a last one of 64 channels: embedding (N, 64), features (N, 64, S/8, S/8).

    The whole network has three times as many layers, and each of them costs time in every step, checkpoint and file.
    """

    embedding_dim = 64

    def __init__(self) -> None:
        super().__init__()
        last = nn.Conv2d(32, self.embedding_dim, 1, bias=False), nn.BatchNorm2d(self.embedding_dim), nn.ReLU6()
        self.features = nn.Sequential(*self.features[:7], nn.Sequential(*last))


class ShortestMobileNet(MobileNetV2Encoder):
    """Its first two layers, three convolutions, and a last one as wide as the whole network's: most of the weights."""

    embedding_dim = 1280

    def __init__(self) -> None:
        super().__init__()
        last = nn.Conv2d(16, self.embedding_dim, 1, bias=False), nn.BatchNorm2d(self.embedding_dim), nn.ReLU6()
        self.features = nn.Sequential(*self.features[:2], nn.Sequential(*last))


@contextmanager
def short_networks(short: type[MobileNetV2Encoder] = ShortMobileNet) -> Iterator[None]:
    """Have runs train and read such an encoder where their settings name `mobilenet_v2`.

    For tests of what a run does with any network. tests/training/export/test_bundle.py trains the whole one.
    """

    def create(name, padding="torchvision"):
        return short() if name == "mobilenet_v2" else create_encoder(name, padding)

    modules = ("liveness_training.runs.train", "liveness_training.runs.folder")
    first, second = (mock.patch(f"{module}.create_encoder", create) for module in modules)
    with first, second:
        yield


@contextmanager
def operators_read_once() -> Iterator[None]:
    """For each export torch parses the source of five hundred operators anew: two thirds of the time of a small one."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib))):
        yield


def random_batch(images: int = 12, frames: int = 0, size: int = 16, domains: int = 3, seed: int = 0):
    """A `Batch` of noise, of clips where `frames` is not 0; labels and domains take turns."""
    from liveness_training.data.batch import Batch

    random = torch.Generator().manual_seed(seed)
    shape = (images, frames, 3, size, size) if frames else (images, 3, size, size)
    place = torch.arange(images)
    return Batch(torch.randn(shape, generator=random), place // domains % 2, place % domains)


def teacher_network(path: Path, weights, *, outputs=1):
    """A made-up teacher; its logits are a weighted mean over the picture of each of its three channels."""
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])
    made = [helper.make_tensor_value_info(f"logits{n or ''}", TensorProto.FLOAT, ["n", 3]) for n in range(outputs)]
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0)]
    nodes += [helper.make_node("MatMul", ["mean", "weights"], [value.name]) for value in made]
    matrix = helper.make_tensor("weights", TensorProto.FLOAT, [3, 3], np.asarray(weights, np.float32).ravel())
    graph = helper.make_graph(nodes, "teacher", [given], made, [matrix])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path
