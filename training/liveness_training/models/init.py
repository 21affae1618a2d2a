"""Loading an encoder's initial weights from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liveness_training.errors import TrainingError
from liveness_training.models.network import Encoder

_LAST_LAYERS = ("fc.", "classifier.", "_fc.")


class InitError(TrainingError):
    """The weights in a file do not fit the encoder; the message says which."""


def load_initial_weights(encoder: Encoder, path: Path, images: Tensor) -> None:
    """Load an encoder's weights, every one of them.

    Args:
        encoder: the encoder to load into.
        path: `.pth` or `.pt` with a state dict under torchvision's names, or those of `models.efficientnet_lite` (its
            last layer, `fc.*`, `classifier.*` or `_fc.*`, is left out), or `.npz` with the same keys, or `.npz` with
            batch norms folded into the convolutions (a `weight` and a `bias` each), which are put back.
        images: a few dozen typical preprocessed crops, (N, 3, S, S); used for folded weights.

    Raises:
        InitError: the file cannot be read, a key is missing or unknown, a shape differs, or a value is not finite.
    """
    weights = _read(path)
    if any(key.endswith("running_mean") for key in weights):
        _load_state(encoder, weights, path)
    else:
        _load_folded(encoder, weights, path, images)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except Exception as error:  # NumPy, zipfile and zlib each raise their own
            raise InitError(f"{path} cannot be read as an npz archive of weights: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch each raise their own
        raise InitError(f"{path} cannot be read as weights of PyTorch: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InitError(f"{path} does not hold a state dict (name -> tensor): save model.state_dict()")
    # Older files of torchvision hold parameters, which ask for gradients.
    return {key: value.detach().float().numpy() for key, value in content.items()}


def _load_state(encoder: Encoder, weights: dict[str, Any], path: Path) -> None:
    given = {key: value for key, value in weights.items() if not key.startswith(_LAST_LAYERS)}
    own = encoder.state_dict()
    # Older files lack the counters, which matter only to batch norms without momentum.
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    if missing or (unknown := [key for key in given if key not in own]):
        fault = f"has no {missing[0]!r}" if missing else f"has {unknown[0]!r}, which the encoder has not"
        raise InitError(f"{path} {fault}: is it of the encoder that the settings name?")
    state = {key: _take(given, key, value.shape, path) for key, value in own.items() if key in given}
    for key, value in own.items():
        value.copy_(state[key].to(value.dtype) if key in state else value)


def _load_folded(encoder: Encoder, weights: dict[str, Any], path: Path, images: Tensor) -> None:
    """Load weights whose batch normalisation was folded into the convolutions, and put batch norms back.

    A folded convolution gives W x + b. Here it gives W x, and the batch norm after it, with running mean μ and variance
    v of W x on `images`, weight √(v + ε) and bias b + μ, only adds b. So training starts with a network that
    computes what the network in the file did.
    """
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
        raise InitError(f"{path} has no {key!r}: is it of the encoder that the settings name?")
    if weights[key].shape != tuple(shape):
        raise InitError(f"{path}: {key} has shape {weights[key].shape}, expected {tuple(shape)}")
    taken = torch.from_numpy(np.array(weights[key], np.float32))
    if not taken.isfinite().all():
        raise InitError(f"{path}: {key} holds values that are not finite: is the file damaged?")
    return taken


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
