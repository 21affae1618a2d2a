"""The execution providers that we know: which are installed here, and how ONNX Runtime is asked for each."""

import importlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime as ort

from liveness_core.runtime.options import Provider, ProviderError, RuntimeOptions, TensorSpec

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
OWN_NAMES: dict[str, str] = {"cpu": CPU, "openvino": OPENVINO, "cuda": CUDA, "tensorrt": TENSORRT}
"""ONNX Runtime's names of the providers."""

_OPENVINO_PACKAGE = "onnxruntime_ep_openvino"
_TENSORRT_PACKAGE = "tensorrt_libs"
_CPU_FLAGS = Path("/proc/cpuinfo")

WHAT_TO_CHECK: dict[str, str] = {
    "cuda": (
        "check that the extra `gpu` is installed (not `service` beside it), the NVIDIA driver, and that the container "
        "sees the GPU"
    ),
    "tensorrt": (
        "check that the extras `gpu` and `tensorrt` are installed, the NVIDIA driver, and that the container sees the "
        "GPU"
    ),
    "openvino": "check that the extra `openvino` is installed and that the processor is one of Intel's",
}
"""What to look at where a provider does not work."""


def candidates(provider: Provider) -> tuple[Provider, ...]:
    """The providers to try in turn: the one that is asked for, or those that are installed and fast here, best first.

    OpenVINO is tried where the processor multiplies matrices (AMX). On one of Intel's with VNNI alone it took 1.5 to
    2.4 times as long as the CPU provider for int8 and for detectors (benchmarks/RESULTS.md).
    """
    if provider != "auto":
        return (provider,)
    available = ort.get_available_providers()
    found: list[Provider] = []
    if TENSORRT in available and find_spec(_TENSORRT_PACKAGE):
        found.append("tensorrt")
    if CUDA in available:
        found.append("cuda")
    if _has("amx_tile") and _openvino_devices():
        found.append("openvino")
    return (*found, "cpu")


def ask_for(
    provider: Provider, options: RuntimeOptions, inputs: Sequence[TensorSpec], to: ort.SessionOptions
) -> list[Any]:
    """Prepare ONNX Runtime for a provider.

    Args:
        provider: any but `auto`.
        options: where and how much.
        inputs: what the network takes.
        to: the session's options; a provider that is a plugin is added to them.

    Returns:
        The value of `providers` of the session: names, or pairs of name and options.

    Raises:
        ProviderError: the provider is not installed here.
    """
    if provider == "cpu":
        return [CPU]
    if provider == "openvino":
        devices = _openvino_devices()
        if not devices:
            raise ProviderError(f"OpenVINO was asked for but offers no processor here: {WHAT_TO_CHECK[provider]}")
        to.add_provider_for_devices(devices[:1], _openvino(options))
        return []
    if OWN_NAMES[provider] not in ort.get_available_providers():
        raise ProviderError(
            f"{_shown(provider)} was asked for but this ONNX Runtime has none: {WHAT_TO_CHECK[provider]}"
        )
    _load_gpu_libraries()
    if provider == "tensorrt":  # what it does not know runs on CUDA
        return [(TENSORRT, _tensorrt(options, inputs)), (CUDA, _cuda(options, graphs=False)), CPU]
    return [(CUDA, _cuda(options, graphs=options.cuda_graphs)), CPU]


def not_running(provider: Provider) -> ProviderError:
    """The error for a session that does not run on the provider that it was made for."""
    return ProviderError(
        f"{_shown(provider)} was asked for but ONNX Runtime runs on the CPU: {WHAT_TO_CHECK[provider]}"
    )


def _shown(provider: str) -> str:
    return {"cuda": "CUDA", "tensorrt": "TensorRT", "openvino": "OpenVINO"}.get(provider, provider)


def _cuda(options: RuntimeOptions, *, graphs: bool) -> dict[str, str]:
    # `kSameAsRequested`: the default doubles the memory that is taken each time more is needed.
    chosen = {"device_id": str(options.device_id), "arena_extend_strategy": "kSameAsRequested"}
    if options.gpu_memory_mb is not None:
        chosen["gpu_mem_limit"] = str(options.gpu_memory_mb << 20)
    if graphs:
        chosen["enable_cuda_graph"] = "1"
    return chosen


def _tensorrt(options: RuntimeOptions, inputs: Sequence[TensorSpec]) -> dict[str, str]:
    chosen = {"device_id": str(options.device_id), "trt_fp16_enable": str(options.half)}
    if options.gpu_memory_mb is not None:
        chosen["trt_max_workspace_size"] = str(options.gpu_memory_mb << 20)
    # One engine for all batches; otherwise each new size of a batch would build another one, which takes minutes.
    if all(None not in spec.shape[1:] for spec in inputs):
        for name, images in (("min", 1), ("opt", options.most_images), ("max", options.most_images)):
            chosen[f"trt_profile_{name}_shapes"] = ",".join(
                f"{spec.name}:{'x'.join(str(images if size is None else size) for size in spec.shape)}"
                for spec in inputs
            )
    if options.cache is not None:
        folder = str(options.cache / "tensorrt")
        chosen |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": folder}
        chosen |= {"trt_timing_cache_enable": "True", "trt_timing_cache_path": folder}
    return chosen


def _openvino(options: RuntimeOptions) -> dict[str, str]:
    chosen = {"num_of_threads": str(options.intra_op_threads)}
    if options.half and _has("amx_bf16"):
        chosen["load_config"] = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}})
    if options.cache is not None:
        chosen["cache_dir"] = str(options.cache / "openvino")
    return chosen


@cache
def _openvino_devices() -> list[Any]:
    """The processors that OpenVINO's plugin offers; none where it is not installed, or not made for this one.

    The plugin is registered once for the whole process and stays.
    """
    if find_spec(_OPENVINO_PACKAGE) is None:
        return []
    plugin = importlib.import_module(_OPENVINO_PACKAGE)
    try:
        ort.register_execution_provider_library("openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime raises half a dozen unrelated classes
        raise ProviderError(f"OpenVINO's plugin cannot be loaded: {error}") from error
    return [
        device
        for device in ort.get_ep_devices()
        if device.ep_name == OPENVINO and device.ep_metadata.get("ov_device") == "CPU"
    ]


def _has(flag: str) -> bool:
    """Whether the processor has a feature, by the name that Linux gives it."""
    try:
        return f" {flag} " in _CPU_FLAGS.read_text(encoding="ascii", errors="replace").replace("\n", " ")
    except OSError:
        return False


@cache
def _load_gpu_libraries() -> None:
    """Load CUDA, cuDNN and TensorRT from the packages of our extras, where the system's loader does not look."""
    ort.preload_dlls(directory="")
    spec = find_spec(_TENSORRT_PACKAGE)
    if spec is not None:
        importlib.import_module(_TENSORRT_PACKAGE)  # it loads its libraries when it is imported
