import math
import sys
from types import SimpleNamespace

import pytest

from liveness_service.observability.gpu import GpuMemory, NvmlReader, gpu_memory_reader
from liveness_service.observability.metrics import Metrics


class StandInError(Exception):
    pass


class StandIn:
    """Two devices, as NVML counts them."""

    NVMLError = StandInError
    lost = False

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return ("first", "second")[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return {"GPU-1": "first", "GPU-2": "second"}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        if self.lost:
            raise StandInError("GPU is lost")
        return SimpleNamespace(used={"first": 10, "second": 20}[handle], total=100, free=0)


@pytest.mark.parametrize(
    ("environment", "device_id", "used"),
    [
        ({}, 0, 10),
        ({}, 1, 20),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 0, 20),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, 1, 10),
        ({"CUDA_VISIBLE_DEVICES": "GPU-2"}, 0, 20),
    ],
)
def test_the_device_is_the_one_that_cuda_means(environment, device_id, used):
    assert NvmlReader(StandIn(), device_id, environment).read() == GpuMemory(used, 100)


def test_a_lost_gpu_does_not_break_the_scrape():
    nvml, metrics = StandIn(), Metrics()
    metrics.watch_gpu(NvmlReader(nvml, 0, {}))
    assert metrics.registry.get_sample_value("liveness_gpu_memory_bytes", {"kind": "used"}) == 10
    assert metrics.registry.get_sample_value("liveness_gpu_memory_bytes", {"kind": "total"}) == 100
    nvml.lost = True
    assert math.isnan(metrics.registry.get_sample_value("liveness_gpu_memory_bytes", {"kind": "used"}))


def test_without_nvml_there_is_no_reader_and_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_memory_reader(0) is None


def test_a_real_gpu():
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: it comes with the extra gpu")
    reader = gpu_memory_reader(0)
    if reader is None:
        pytest.skip("there is no NVIDIA GPU here")
    memory = reader.read()
    assert memory is not None
    assert 0 < memory.used <= memory.total
