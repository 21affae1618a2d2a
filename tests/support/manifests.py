"""What kubernetes/ renders to, by the real kubectl."""

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "kubernetes"
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overlay:
    """What would be applied to a cluster."""

    objects: list[Manifest]

    def one(self, kind: str) -> Manifest:
        """The only object of its kind."""
        (found,) = [each for each in self.objects if each["kind"] == kind]
        return found

    def has(self, kind: str) -> bool:
        """Whether there is one."""
        return any(each["kind"] == kind for each in self.objects)

    @property
    def pod(self) -> Manifest:
        """The pod that the Deployment makes: labels and spec."""
        template: Manifest = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Manifest:
        """Its only container."""
        (container,) = self.pod["spec"]["containers"]
        return container

    @property
    def settings(self) -> dict[str, str]:
        """The variables that the container gets: of the ConfigMap that it names, as it names it."""
        (source,) = self.container["envFrom"]
        config = self.one("ConfigMap")
        assert source == {"configMapRef": {"name": config["metadata"]["name"]}}
        assert "env" not in self.container
        return config["data"]


def render(folder: Path) -> Overlay:
    """Render a folder with a kustomization; skip the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed (Debian: kubernetes-client)")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Overlay(list(yaml.safe_load_all(done.stdout)))


@cache
def overlay(name: str) -> Overlay:
    """One of kubernetes/overlays."""
    return render(KUBERNETES / "overlays" / name)
