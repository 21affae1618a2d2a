"""Starting an encoder from weights in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liveness_training.errors import TrainingError
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder


class InitError(TrainingError):
    """The weights in a file do not fit the encoder; the message says which."""


def load_folded_weights(encoder: MobileNetV2Encoder, path: Path, images: Tensor) -> None:
    """Load weights whose batch normalisation was folded into the convolutions, and put batch norms back.

    A folded convolution gives W x + b. Here it gives W x, and the batch norm after it, with running mean μ and variance
    v of W x on `images`, weight √(v + ε) and bias b + μ, changes nothing but adds b. Training then goes on with a
    network that computes what the file's did.

    Args:
        encoder: one whose padding is the file's.
        path: an `.npz` with a `weight` and a `bias` for each convolution, keys as in torchvision's state dict.
        images: image_N3SS, preprocessed, a few dozen and typical.

    Raises:
        InitError: a key is missing or a shape differs.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            weights = {key: archive[key] for key in archive.files}
    except Exception as error:  # NumPy, zipfile and zlib each raise their own
        raise InitError(f"{path} cannot be read as an npz archive of weights: {error}") from error
    biases = {}
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = _take(weights, f"{name}.weight", module.weight.shape, path)
            biases[name] = _take(weights, f"{name}.bias", (module.out_channels,), path)
    hooks = []
    for norm, bias in zip(_norms(encoder), biases.values(), strict=True):
        hooks.append(norm.register_forward_pre_hook(_make_neutral(bias)))
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        encoder(images)
    for hook in hooks:
        hook.remove()
    encoder.train(was_training)


def _norms(encoder: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]


def _take(weights: dict[str, Any], key: str, shape: tuple[int, ...], path: Path) -> Tensor:
    if key not in weights:
        raise InitError(f"{path} has no {key!r}: is it a MobileNetV2 with folded batch norms?")
    if weights[key].shape != tuple(shape):
        raise InitError(f"{path}: {key} has shape {weights[key].shape}, expected {tuple(shape)}")
    return torch.from_numpy(np.ascontiguousarray(weights[key], np.float32))


def _make_neutral(bias: Tensor) -> Any:
    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        mean = inputs[0].mean((0, 2, 3))
        variance = inputs[0].var((0, 2, 3), unbiased=False)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(bias + mean)

    return hook
