import importlib
import os
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from liveness_service.observability.gpu import nvml_reader

GIB = 1 << 30


class Reader:
    """A GPU as `MemoryReader` tells of it."""

    def __init__(self, found):
        self.found = found
        self.asked = 0

    def read(self):
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Hanging:
    """A driver that does not answer until it is let go."""

    def __init__(self):
        self.go_on = threading.Event()
        self.asked = 0

    def read(self):
        self.asked += 1
        self.go_on.wait(60)
        return {"used": 1, "total": 2}


def memory(client):
    families = {each.name: each for each in text_string_to_metric_families(client.get("/metrics").text)}
    assert "liveness_inflight_requests" in families  # the scrape is whole, whatever the GPU does
    return {sample.labels["kind"]: sample.value for sample in families["liveness_gpu_memory_bytes"].samples}


@pytest.fixture
def watched(serve, live_bundle):
    """Ask this reader in a service's scrapes."""
    with serve(bundle_path=live_bundle, provider="cpu") as client:
        metrics = client.app.state.service.metrics

        def watch(reader):
            metrics.gpu_memory.watch(reader)
            return client

        yield watch


def test_memory_is_what_it_is_when_scraped(watched):
    reader = Reader({"used": 3 * GIB, "total": 8 * GIB, "process": 2 * GIB})
    client = watched(reader)
    assert memory(client) == {"used": 3 * GIB, "total": 8 * GIB, "process": 2 * GIB}
    reader.found = {"used": 5 * GIB, "total": 8 * GIB}
    assert memory(client) == {"used": 5 * GIB, "total": 8 * GIB}
    assert reader.asked == 2


def test_without_a_gpu_there_is_no_sample(watched):
    assert memory(watched(None)) == {}


def test_a_gpu_that_falls_off_the_bus_costs_its_own_samples_only(watched):
    reader = Reader(RuntimeError("GPU is lost"))
    client = watched(reader)
    assert memory(client) == {}
    reader.found = {"used": 1, "total": 2}
    assert memory(client) == {"used": 1, "total": 2}


def test_a_driver_that_hangs_is_neither_waited_for_nor_asked_again(watched):
    hanging = Hanging()
    client = watched(hanging)
    began = time.perf_counter()
    assert [memory(client) for _ in range(5)] == [{}] * 5
    assert time.perf_counter() - began < 5
    assert hanging.asked == 1
    hanging.go_on.set()
    deadline = time.monotonic() + 10
    while not (found := memory(client)):
        assert time.monotonic() < deadline
    assert found == {"used": 1, "total": 2}


class Nvml:
    """The calls of NVML that are used, with two GPUs."""

    class NVMLError(Exception):
        pass

    class Record:
        def __init__(self, **fields):
            vars(self).update(fields)

    def __init__(self, processes=(), driver=True, tells_processes=True):
        self.processes = processes
        self.driver = driver
        self.tells_processes = tells_processes

    def nvmlInit(self):  # noqa: N802
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index > 1:
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return {"GPU-a": 0, "GPU-b": 1}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return self.Record(used=(handle + 1) * 10, total=100, free=0)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if not self.tells_processes:
            raise self.NVMLError("Not Supported")
        return [self.Record(pid=pid, usedGpuMemory=used) for pid, used in self.processes]


@pytest.mark.parametrize(
    ("visible", "device_id", "used"),
    [
        (None, 0, 10),
        (None, 1, 20),
        ("", 1, 20),
        ("1", 0, 20),
        ("1,0", 1, 10),
        ("GPU-b", 0, 20),
        ("GPU-b, GPU-a", 1, 10),
    ],
)
def test_the_gpu_is_the_one_that_cuda_counts(monkeypatch, visible, device_id, used):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml_reader(device_id, lambda _: Nvml()).read()["used"] == used


@pytest.mark.parametrize("visible", ["0", "-1", "none"])
def test_a_gpu_that_is_not_there_gives_no_reader(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml_reader(1, lambda _: Nvml()) is None


def test_memory_of_this_process_is_told_where_the_driver_tells(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own = os.getpid()

    def found(**kind):
        return nvml_reader(0, lambda _: Nvml(**kind)).read()

    assert found(processes=[(own, 7), (own + 1, 3)]) == {"used": 10, "total": 100, "process": 7}
    for kind in ({"processes": [(own, None)]}, {"processes": [(own + 1, 3)]}, {"tells_processes": False}):
        assert found(**kind) == {"used": 10, "total": 100}


def test_without_the_library_or_the_driver_there_is_no_reader():
    def missing(name):
        raise ModuleNotFoundError(name)

    assert nvml_reader(0, missing) is None
    assert nvml_reader(0, lambda _: Nvml(driver=False)) is None


def test_a_real_gpu_tells_its_memory():
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py (extra `gpu`) is not installed")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        pytest.skip(f"there is no NVIDIA driver: {error}")
    reader = nvml_reader(0, importlib.import_module)
    assert reader is not None
    found = reader.read()
    assert 0 < found["used"] <= found["total"]
    assert found["total"] > 100 << 20
