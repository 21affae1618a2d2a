"""Write monitoring/prometheus_rule.yaml from docker/prometheus/rules, so that there is one set of rules for all uses.

Kustomize cannot put the content of a file into an object. So the object is committed, and a test compares it.
"""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "docker" / "prometheus" / "rules"
TARGET = ROOT / "kubernetes" / "monitoring" / "prometheus_rule.yaml"


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as blocks, as they are in the rules."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def groups() -> list[Any]:
    """Return the groups of all rule files, in the order of the file names."""
    files = sorted(RULES.glob("*.yml"))
    return [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def manifest() -> str:
    """Return the content of `prometheus_rule.yaml`."""
    content = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "liveness", "labels": {"app.kubernetes.io/name": "liveness"}},
        "spec": {"groups": groups()},
    }
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return f"# Made by `make kubernetes-rules` from docker/prometheus/rules; change those.\n{text}"


if __name__ == "__main__":
    TARGET.write_text(manifest(), encoding="utf-8")
