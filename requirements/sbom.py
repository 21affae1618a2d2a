"""Lists what an environment is made of, packages and model bundle, as a CycloneDX 1.6 file; `make sbom` runs it."""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "face-liveness"
# Runs in the environment that is listed, which has neither this file's packages nor the project's tests.
PROGRAM = """
import importlib.metadata, json
print(json.dumps([
    {"name": each.metadata["Name"], "version": each.version, "summary": each.metadata["Summary"] or "",
     "license": each.metadata["License-Expression"] or "", "requires": each.requires or []}
    for each in importlib.metadata.distributions()
]))
try:
    from liveness_core.bundle import default_bundle_path
    print(json.dumps(str(default_bundle_path())))
except ImportError:
    print("null")
"""


def of_environment(python: str) -> Bom:
    """What is installed where this interpreter runs; the project itself is what the list is about.

    Raises:
        SystemExit: the project is not installed there.
    """
    done = subprocess.run([python, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 (an interpreter that the caller names)
    first, second = done.stdout.splitlines()
    found: dict[str, dict[str, Any]] = {canonicalize_name(each["name"]): each for each in json.loads(first)}
    if OURS not in found:
        raise SystemExit(f"{OURS} is not installed in the environment of {python}")
    packages = {name: _package(name, each) for name, each in sorted(found.items())}
    bom = Bom()
    bom.metadata.component = packages[OURS]
    bundle = _bundle(Path(json.loads(second)))
    for name, component in packages.items():
        if name != OURS:
            bom.components.add(component)
        needed = [
            packages[each] for each in _needs(found[name]["requires"], every_extra=name == OURS) if each in packages
        ]
        bom.register_dependency(component, needed if name != OURS else [*needed, bundle])
    bom.components.add(bundle)
    return bom


def _package(name: str, found: dict[str, Any]) -> Component:
    licenses = [LicenseFactory().make_from_string(found["license"])] if found["license"] else []
    return Component(
        name=name,
        version=found["version"],
        type=ComponentType.APPLICATION if name == OURS else ComponentType.LIBRARY,
        description=found["summary"],
        licenses=licenses,
        purl=PackageURL("pypi", name=name, version=found["version"]),
        bom_ref=f"{name}=={found['version']}",
    )


def _needs(requirements: list[str], *, every_extra: bool) -> set[str]:
    """Names of the packages that these requirements ask for here; of ours with all extras, as far as they are there."""
    needed = set()
    for requirement in map(Requirement, requirements):
        if every_extra or requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed.add(canonicalize_name(requirement.name))
    return needed - {OURS}


def _bundle(path: Path) -> Component:
    """The model, with a component for each of its files."""
    content = (path / "bundle.json").read_bytes()
    manifest = json.loads(content)
    digests = manifest["files"] | {"bundle.json": hashlib.sha256(content).hexdigest()}
    name = f"model-{manifest['name']}"
    return Component(
        name=name,
        version=manifest["version"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        description="model bundle; its hash is that of bundle.json, which holds the hashes of its other files",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digests["bundle.json"])],
        bom_ref=f"{name}=={manifest['version']}",
        components=[
            Component(
                name=file,
                type=ComponentType.FILE,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
                bom_ref=f"{name}/{file}",
            )
            for file, digest in sorted(digests.items())
        ],
    )


def main() -> None:
    """Write the list of the environment that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text = JsonV1Dot6(of_environment(arguments.python)).output_as_string(indent=2)
    arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
