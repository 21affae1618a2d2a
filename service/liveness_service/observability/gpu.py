"""Reports the GPU's memory: asks the driver (NVML) each time that metrics are scraped."""

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

_WAIT_S = 0.1
"""Longest wait for the driver. It answers within a millisecond, unless the GPU hangs and the driver with it."""


class MemoryReader(Protocol):
    """Reads how much memory of a GPU is used; `NvmlReader` is the implementation for production."""

    def read(self) -> Mapping[str, int]:
        """Bytes by kind: `used` and `total` of the whole GPU, and `process` of this process where it is known."""
        ...


class GpuMemory(Collector):
    """The metric `liveness_gpu_memory_bytes`; it has no samples where there is no GPU, or where it does not answer."""

    def __init__(self) -> None:
        self._reader: MemoryReader | None = None
        self._asking: threading.Thread | None = None

    def watch(self, reader: MemoryReader | None) -> None:
        """Ask this reader from now on; with None, report nothing."""
        self._reader = reader

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Ask the reader and wait for up to 0.1 s. While an earlier question hangs, neither ask again nor wait."""
        family = GaugeMetricFamily(
            "liveness_gpu_memory_bytes",
            "Memory of the GPU: used and total of all of it, process of this process where the driver tells.",
            labels=["kind"],
        )
        for kind, value in self._ask().items():
            family.add_metric([kind], value)
        return [family]

    def _ask(self) -> Mapping[str, int]:
        reader = self._reader
        if reader is None or (self._asking is not None and self._asking.is_alive()):
            return {}
        answer: dict[str, int] = {}

        def ask() -> None:
            try:
                answer.update(reader.read())
            except Exception as error:  # noqa: BLE001 (any failure of the driver; the scrape must go on)
                log.debug("gpu_memory_unknown", reason=str(error))

        self._asking = threading.Thread(target=ask, name="gpu-memory", daemon=True)
        self._asking.start()
        self._asking.join(_WAIT_S)
        return {} if self._asking.is_alive() else answer


class NvmlReader:
    """Reads the memory of one GPU through NVML; `nvml_reader` makes it."""

    def __init__(self, nvml: Any, handle: Any, pid: int) -> None:
        self._nvml = nvml
        self._handle = handle
        self._pid = pid

    def read(self) -> Mapping[str, int]:
        """See `MemoryReader`. In a container NVML may know this process by another id; then `process` is missing."""
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        found = {"used": int(memory.used), "total": int(memory.total)}
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:  # some GPUs, e.g. virtual ones, do not tell
            return found
        for process in processes:
            if process.pid == self._pid and process.usedGpuMemory is not None:
                found["process"] = int(process.usedGpuMemory)
        return found


def nvml_reader(device_id: int, load: Callable[[str], Any] = importlib.import_module) -> NvmlReader | None:
    """Make the reader of a GPU; None where nvidia-ml-py (extra `gpu`), the driver or the GPU is missing.

    Args:
        device_id: the GPU's number as in `LIVENESS_DEVICE_ID`, counted as CUDA does: within `CUDA_VISIBLE_DEVICES`
            where that is set, else among all GPUs.
        load: imports a module by its name.
    """
    try:
        nvml = load("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return NvmlReader(nvml, _handle(nvml, device_id), os.getpid())
    except (nvml.NVMLError, LookupError, ValueError) as error:
        log.info("gpu_memory_unknown", reason=str(error))
        return None


def _handle(nvml: Any, device_id: int) -> Any:
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[device_id] if visible else str(device_id)
    if name.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    return nvml.nvmlDeviceGetHandleByIndex(int(name))
