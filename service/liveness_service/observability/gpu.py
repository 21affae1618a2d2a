"""Memory of the GPU, by NVML: ONNX Runtime does not tell what it holds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes of the whole device: others may use it too."""

    used: int
    total: int


class GpuMemoryReader(Protocol):
    """Tells the memory of one device."""

    def read(self) -> GpuMemory | None:
        """As it is now; None where it cannot be told."""
        ...


class NvmlReader:
    """Reads one device through the package nvidia-ml-py."""

    def __init__(self, nvml: ModuleType, device_id: int, environment: Mapping[str, str] = os.environ) -> None:
        """Find the device.

        Args:
            nvml: the module `pynvml`, initialised.
            device_id: as CUDA counts, among those that `CUDA_VISIBLE_DEVICES` leaves; NVML itself counts them all.
            environment: of the process.
        """
        self._nvml = nvml
        visible = [each.strip() for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
        name = visible[device_id] if device_id < len(visible) else str(device_id)
        self._handle = (
            nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)
        )

    def read(self) -> GpuMemory | None:
        """As it is now; None where the driver does not tell."""
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError as error:
            log.warning("gpu_memory_unknown", error=str(error))
            return None
        return GpuMemory(int(memory.used), int(memory.total))


def gpu_memory_reader(device_id: int) -> GpuMemoryReader | None:
    """A reader of this device; None, with a log line, where NVML does not work. Nothing else depends on it."""
    try:
        import pynvml  # of the extra `gpu`
    except ImportError:
        log.warning("gpu_memory_unknown", error="the package nvidia-ml-py is missing: it comes with the extra gpu")
        return None
    try:
        pynvml.nvmlInit()
        return NvmlReader(pynvml, device_id)
    except pynvml.NVMLError as error:
        log.warning("gpu_memory_unknown", error=str(error))
        return None
