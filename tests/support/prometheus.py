"""A real Prometheus (Debian's package `prometheus`) with the project's rules, and the names in their PromQL."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from liveness_service.observability.metrics import Metrics
from support.server import port_in_log

DOCKER = Path(__file__).resolve().parents[2] / "docker" / "prometheus"


def command(name: str) -> str:
    """Path of `prometheus` or `promtool`; skips the test where it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian's package prometheus)")
    return path


def config_for(folder: Path, target: str) -> Path:
    """The project's configuration with another target, a key file and an interval of 1 s everywhere."""
    shutil.copytree(DOCKER / "rules", folder / "rules")
    for rules in (folder / "rules").iterdir():
        rules.write_text(re.sub(r"^    interval: .*$", "    interval: 1s", rules.read_text(), flags=re.MULTILINE))
    key = folder / "metrics_key"
    key.write_text("no service asks for it here")
    text = (DOCKER / "prometheus.yml").read_text()
    text = text.replace("liveness:8000", target).replace("/run/secrets/metrics_key", str(key))
    config = folder / "prometheus.yml"
    config.write_text(text.replace("_interval: 15s", "_interval: 1s"))
    return config


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A started Prometheus."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression; raises AssertionError when it does not parse."""
        answer = self.client.post("/api/v1/query", data={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        content = answer.json()
        assert content["status"] == "success", f"{expression}: {content}"
        return list(content["data"]["result"])

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Values of an expression by these labels."""
        return {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1])
            for series in self.query(expression)
        }

    def rules(self) -> list[dict[str, Any]]:
        """All rules with their health."""
        groups = self.client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Start one that scrapes `target`, HOST:PORT, every second, and stop it in the end."""
    program = command("prometheus")
    config = config_for(folder, target)
    log_file = folder / "prometheus.log"
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log_file.open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        port = port_in_log(process, log_file, line='msg="Listening on" address=')
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_until_ready(client, process, log_file)
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus did not start:\n{log_file.read_text()}")


_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}
OTHERS = {
    "up": {"job", "instance"},
    "process_start_time_seconds": {"job", "instance"},
    "process_resident_memory_bytes": {"job", "instance"},
}
"""What Prometheus itself and the process collector give."""
_METRIC = re.compile(r"\b((?:liveness|process)_[a-z0-9_]+|up|[a-z_]+:[a-z0-9_:]+)\b(\{[^}]*\})?")


def exported() -> dict[str, set[str]]:
    """Every sample name that a service exports, with its labels beside `job` and `instance`."""
    names: dict[str, set[str]] = {}
    metrics = Metrics()
    for metric in vars(metrics).values():
        if not hasattr(metric, "_labelnames"):
            continue
        for family in metric.describe():
            for suffix in _SUFFIXES[family.type]:
                labels = {*metric._labelnames, "job", "instance"}
                names[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    for family in metrics.gpu_memory.collect():  # no instrument of the library: it asks the driver when scraped
        names[family.name] = {*family._labelnames, "job", "instance"}
    return names | OTHERS


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each name in an expression with the labels that it is filtered by."""
    for match in _METRIC.finditer(re.sub(r'"(?:[^"\\]|\\.)*"', '""', _without_groupings(expression))):
        yield match.group(1), set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match.group(2) or ""))


def grouped_by(expression: str) -> set[str]:
    """All labels after `by`, `on` and the like."""
    lists = re.findall(r"\b(?:by|on|without|group_left|group_right)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def _without_groupings(expression: str) -> str:
    return re.sub(r"\b(?:by|on|without|group_left|group_right)\s*\([^)]*\)", "", expression)
