import os

import pytest

from liveness_service import cores
from liveness_service.cores import available_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


@pytest.fixture
def machine(tmp_path):
    """A file system with these files, by path and content; its root."""

    def made(**files):
        for path, content in files.pop("files", {}).items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path

    return made


V1 = "4:memory:/a\n3:cpuset:/\n2:cpu,cpuacct:/docker/1f2e\n"


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("10000000 100000\n", 8),
        ("max 100000\n", 8),
        ("200000\n", 2),  # the period may be left out; it is 100 ms then
    ],
)
def test_the_quota_of_cgroup_v2_counts(machine, cpu_max, expected):
    assert available_cores(machine(files={"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max})) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("250000", 3), ("1000", 1), ("-1", 8), ("0", 8)])
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_the_quota_of_cgroup_v1_counts(machine, folder, quota, expected):
    files = {
        "proc/self/cgroup": V1,
        f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000\n",
    }
    assert available_cores(machine(files=files)) == expected


def test_the_smallest_quota_on_the_way_to_the_root_counts(machine):
    files = {
        "proc/self/cgroup": "0::/kubepods/pod1/container\n",
        "sys/fs/cgroup/kubepods/cpu.max": "700000 100000",
        "sys/fs/cgroup/kubepods/pod1/cpu.max": "200000 100000",
        "sys/fs/cgroup/kubepods/pod1/container/cpu.max": "400000 100000",
    }
    assert available_cores(machine(files=files)) == 2
    files = {
        "proc/self/cgroup": V1,
        "sys/fs/cgroup/cpu/docker/1f2e/cpu.cfs_quota_us": "500000",
        "sys/fs/cgroup/cpu/docker/1f2e/cpu.cfs_period_us": "100000",
    }
    (machine() / "sys/fs/cgroup/kubepods/pod1/cpu.max").unlink()
    assert available_cores(machine(files=files)) == 5


def test_without_a_quota_the_cores_of_the_process_count(machine):
    assert available_cores(machine()) == 8
    assert available_cores(machine(files={"proc/self/cgroup": "0::/\n"})) == 8


@pytest.mark.parametrize(
    "content", ["", "\n", "many 100000", "200000 0", "200000 -5", "-200000 100000", "nan inf", "\xff"]
)
def test_a_quota_that_cannot_be_read_is_none(machine, content):
    root = machine(files={"proc/self/cgroup": "0::/\nnonsense\n:\n", "sys/fs/cgroup/cpu.max": content})
    assert available_cores(root) == 8


def test_a_cgroup_outside_the_container_leads_nowhere_else(machine):
    files = {"proc/self/cgroup": "0::/../../secret\n", "sys/secret/cpu.max": "100000 100000"}
    assert available_cores(machine(files=files)) == 8


def test_a_system_without_affinity_counts_its_processors(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 3)
    assert available_cores(machine()) == 3
