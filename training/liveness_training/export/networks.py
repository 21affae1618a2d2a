"""ONNX files of trained networks; every export is checked against the network that it came from."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from liveness_core.bundle import NetworkFile
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_training.errors import TrainingError

_OPSET = 18
TOLERANCE = 1e-4
_CHECKED_BATCHES = (1, 5, 8)
CHECKED_ROWS = max(_CHECKED_BATCHES)
"""Rows that an example needs so that the export can be checked on it."""
# Warnings of torch about its own exporter, and about the LSTM that it replaces for the export.
_TORCH_WARNINGS = {
    FutureWarning: "",
    UserWarning: r"The tensor attributes .*_flat_weights|The \.grad attribute of a Tensor that is not a leaf",
}


class ExportError(TrainingError):
    """A network does not compute what the trained one does, or a bundle would mislead; nothing is written."""


def to_onnx(
    module: nn.Module,
    example: Tensor,
    input_name: str,
    output_names: Sequence[str],
    *,
    relative_outputs: Collection[str] = (),
) -> bytes:
    """Export a module with a free first dimension and check it at batches 1, 5 and 8 (absolute difference ≤ 1e-4).

    Args:
        module: a module from one tensor to one tensor or a tuple of tensors; it is exported in evaluation mode.
        example: a typical input of at least 8 rows, on which the export is checked.
        input_name: name of the input.
        output_names: names of the outputs, in order.
        relative_outputs: outputs without bounds, which may differ by 1e-4 of their largest value. The features of a
            ResNet-50 reach 20 to 250, and torch's own rounding, float32 against float64, is up to 8e-4 at 20.

    Raises:
        ExportError: ONNX Runtime computes something else than torch.
        ValueError: the example has too few rows to be checked on.
    """
    if len(example) < CHECKED_ROWS:
        raise ValueError(f"the example has {len(example)} rows, the check needs {CHECKED_ROWS}")
    module = copy.deepcopy(module).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks it
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of every torchvision operator that it lacks
    with warnings.catch_warnings():
        for category, message in _TORCH_WARNINGS.items():
            warnings.filterwarnings("ignore", message, category)
        program = torch.onnx.export(
            _without_batch_norms(module),
            (example[:2],),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    session = OrtSession(content, RuntimeOptions("cpu"))
    for batch in _CHECKED_BATCHES:
        with torch.inference_mode():
            expected = module(example[:batch])
        expected = expected if isinstance(expected, tuple) else (expected,)
        actual = session.run({input_name: example[:batch].numpy()}, output_names)
        for name, want, have in zip(output_names, expected, actual, strict=True):
            difference = float(np.abs(want.numpy() - have).max())
            allowed = TOLERANCE * (max(1.0, float(want.abs().max())) if name in relative_outputs else 1.0)
            if not difference <= allowed:
                raise ExportError(
                    f"{name} differs from torch by {difference:.2e} at batch {batch}, allowed are {allowed:.2e}"
                )
    return content


def to_int8(
    encoder: bytes,
    calibration: Sequence[NDArray[np.float32]],
    *,
    float_convolutions: int = 0,
    input_name: str = "image",
) -> bytes:
    """Quantise an encoder: static, QDQ, `uint8` activations, `int8` weights per channel.

    Weights keep to 7 bits (`reduce_range`): on processors without VNNI the sum of two 8-bit products overflows 16 bits
    and the scores would depend on the processor (docs/adr/0004).

    Args:
        encoder: content of the fp32 file.
        calibration: batches of typical inputs, which give the ranges of the activations.
        float_convolutions: number of first convolutions that stay in float32. They work on few channels of very
            different ranges, cost little, and their error passes through all later layers.
        input_name: name of the input.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, result = (str(Path(folder) / name) for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
        Path(source).write_bytes(encoder)
        quant_pre_process(source, prepared)
        nodes = onnx.load(prepared).graph.node
        convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
        quantize_static(
            prepared,
            result,
            _Reader(calibration, input_name),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=[node.name for node in nodes[: convolutions[float_convolutions]]],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return Path(result).read_bytes()


def to_fp16(encoder: bytes) -> bytes:
    """Convert an encoder to float16 weights and arithmetic; input and outputs stay float32, so callers need no change.

    It is meant for GPUs. A processor without float16 arithmetic computes in float32: half the size, but no faster.

    Args:
        encoder: content of the fp32 file.
    """
    halved = convert_float_to_float16(onnx.load_from_string(encoder), keep_io_types=True)
    return bytes(halved.SerializeToString())


def network_file(name: str, content: bytes) -> NetworkFile:
    """The manifest's description of a network, read from the network itself."""
    session = OrtSession(content, RuntimeOptions("cpu"))
    return NetworkFile(file=name, inputs=session.inputs, outputs=session.outputs)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime comes without types
    def __init__(self, batches: Sequence[NDArray[np.float32]], input_name: str) -> None:
        self._input_name = input_name
        self._batches: Iterator[NDArray[np.float32]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._input_name: batch}


def _without_batch_norms(module: nn.Module) -> nn.Module:
    """A copy, in evaluation mode, whose batch norms are folded into the convolutions before them.

    A batch norm is taken to follow the convolution that is defined just before it, as in torchvision's networks. Where
    that is wrong, the check against the original network fails.
    """
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        for (first, convolution), (second, norm) in pairwise(list(part.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, first, fuse_conv_bn_eval(convolution, norm))
                setattr(part, second, nn.Identity())
    return module
