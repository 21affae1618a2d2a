"""Names and labels in PromQL, to be compared with what a service exports."""

import re
from collections.abc import Iterator

from liveness_service.observability.metrics import Metrics

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
