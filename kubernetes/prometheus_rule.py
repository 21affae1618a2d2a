"""Write monitoring/prometheus_rule.yaml from docker/prometheus/rules: one set of rules, whoever loads them.

Kustomize cannot put the content of a file into an object, so the object is kept in the repository and a test compares.
"""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "docker" / "prometheus" / "rules"
TARGET = ROOT / "kubernetes" / "monitoring" / "prometheus_rule.yaml"


class _Dumper(yaml.SafeDumper):
    """Keeps expressions of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def groups() -> list[Any]:
    """The groups of all files, in the order of the files' names."""
    files = sorted(RULES.glob("*.yml"))
    return [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def manifest() -> str:
    """The whole file."""
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
