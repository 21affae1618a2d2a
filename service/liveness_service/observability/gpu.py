"""Memory of the GPU, asked of its driver (NVML) when metrics are scraped."""

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
"""Longest wait for the driver; it answers within a millisecond, or hangs with the GPU."""


class MemoryReader(Protocol):
    """What tells of a GPU's memory; `NvmlReader` is one."""

    def read(self) -> Mapping[str, int]:
        """Bytes by kind: `used` and `total` of the whole GPU, `process` of this process where that can be told."""
        ...


class GpuMemory(Collector):
    """`liveness_gpu_memory_bytes`; without samples where there is no GPU, or none that answers."""

    def __init__(self) -> None:
        self._reader: MemoryReader | None = None
        self._asking: threading.Thread | None = None

    def watch(self, reader: MemoryReader | None) -> None:
        """Ask this reader from now on; None: nothing is to be told."""
        self._reader = reader

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Ask, and wait for a moment; while the driver hangs it is neither asked again nor waited for."""
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
            except Exception as error:  # noqa: BLE001 (whatever the driver says, the scrape must go on)
                log.debug("gpu_memory_unknown", reason=str(error))

        self._asking = threading.Thread(target=ask, name="gpu-memory", daemon=True)
        self._asking.start()
        self._asking.join(_WAIT_S)
        return {} if self._asking.is_alive() else answer


class NvmlReader:
    """The GPU that CUDA counts as this one."""

    def __init__(self, nvml: Any, handle: Any, pid: int) -> None:
        self._nvml = nvml
        self._handle = handle
        self._pid = pid

    def read(self) -> Mapping[str, int]:
        """As `MemoryReader`; in a container NVML may count processes by other ids, and `process` is missing."""
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        found = {"used": int(memory.used), "total": int(memory.total)}
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:  # not told on this GPU, e.g. a virtual one
            return found
        for process in processes:
            if process.pid == self._pid and process.usedGpuMemory is not None:
                found["process"] = int(process.usedGpuMemory)
        return found


def nvml_reader(device_id: int, load: Callable[[str], Any] = importlib.import_module) -> NvmlReader | None:
    """A reader of this GPU; None without nvidia-ml-py (extra `gpu`), a driver, or the GPU.

    Args:
        device_id: as `LIVENESS_DEVICE_ID`: its place among `CUDA_VISIBLE_DEVICES` where that is set.
        load: imports a module.
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
