"""What is installed: lists with hashes that agree with the versions and the dependencies, and a bill of materials."""

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import cyclonedx.schema
import jsonschema
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from referencing import Registry
from referencing.jsonschema import DRAFT7

from liveness_core.bundle import default_bundle_path
from support.dockerfile import ROOT

FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Each image and environment: the extras of its purpose, what comes beside them, and where its versions stand.
LISTS = {
    "installer": (set(), {"uv"}, ["constraints.txt"]),
    "build": (set(), {"hatchling", "editables"}, ["constraints.txt"]),
    "service-cpu": ({"service", "s3", "redis", "tracing"}, set(), ["constraints.txt"]),
    "service-gpu": (
        {"gpu", "insightface", "s3", "redis", "tracing"},
        {"insightface"},
        ["constraints.txt", "constraints-gpu.txt"],
    ),
    "training-gpu": ({"training"}, {"onnxruntime"}, ["constraints.txt", "docker/training-gpu.constraints.txt"]),
    "dev": (
        {"service", "s3", "redis", "tracing", "insightface", "training", "docs", "dev"},
        {"insightface", "filelock", "fsspec", "jinja2", "mpmath", "networkx", "sympy"},
        ["constraints.txt"],
    ),
}
NOT_LISTED = {"dev": {"torch"}}
"""PyTorch for the CPU and for CUDA have one version and different files; `make` installs it by its version."""
# The oldest versions without a known hole that an upload reaches, by the makers' own advisories.
FLOORS = {"pillow": "13", "python-multipart": "0.0.27", "starlette": "0.49.1"}


@dataclass
class Locked:
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)


def locked_in(name: str) -> dict[str, Locked]:
    found: dict[str, Locked] = {}
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if entry := re.fullmatch(r"([a-z0-9.-]+)==([\w.]+)(?: ; (.*?))? \\", line):
            locked = Locked(entry[2], entry[3] or "")
            # Of a package that some systems need in an older version, the one for this system counts.
            if entry[1] not in found or Marker(locked.marker).evaluate():
                found[entry[1]] = locked
        elif digest := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line):
            locked.hashes.append(digest[1])
        else:
            assert line.startswith("# Made by `make lock` for "), line
    return found


def pins_of(*files: str) -> dict[str, str]:
    lines = [line for file in files for line in (ROOT / file).read_text().splitlines() if re.match(r"[\w.-]+==", line)]
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    assert len(pins) == len({pin.name for pin in pins})
    return {pin.name: next(iter(pin.specifier)).version for pin in pins}


def wanted_by(extras: set[str]) -> list[Requirement]:
    """The requirements of the project with these extras, their own extras included."""
    wanted = list(map(Requirement, PROJECT["dependencies"] if extras else []))
    for extra in extras:
        for requirement in map(Requirement, EXTRAS[extra]):
            wanted += wanted_by(requirement.extras) if requirement.name == "face-liveness" else [requirement]
    return wanted


@pytest.fixture(params=LISTS)
def name(request) -> str:
    return request.param


def test_there_is_a_list_for_each_image_and_environment():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(LISTS)
    made = (FOLDER / "lock").read_text()
    for name, (extras, further, _) in LISTS.items():
        head = (FOLDER / f"{name}.txt").read_text().splitlines()[0]
        project = re.search(r"face-liveness\[(.*?)\]", head)
        assert set(project[1].split(",") if project else []) == extras
        assert all(each in head for each in further)
        assert f"lock {name} " in made


def test_every_file_has_hashes_and_no_address(name):
    for package, locked in locked_in(name).items():
        assert locked.hashes, package
        assert len(set(locked.hashes)) == len(locked.hashes)
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|--index-url|--find-links", text)


def test_the_versions_are_those_that_are_tested(name):
    pins = pins_of(*LISTS[name][2])
    for package, locked in locked_in(name).items():
        # torch itself pins what it brings along for CUDA.
        of_torch = name == "training-gpu" and re.match(r"nvidia-|cuda-|triton$", package)
        assert of_torch or locked.version == pins.get(package), f"{package}: run `make lock`"


def test_what_the_project_asks_for_is_listed(name):
    extras, further, _ = LISTS[name]
    locked = locked_in(name)
    for requirement in [*wanted_by(extras), *map(Requirement, further)]:
        package = canonicalize_name(requirement.name)
        if package in NOT_LISTED.get(name, set()):
            assert package not in locked
            continue
        assert package in locked, f"{package} is missing: run `make lock`"
        assert locked[package].version in requirement.specifier


def test_no_package_that_would_overwrite_another_is_listed():
    for name in LISTS:
        both = {"onnxruntime", "onnxruntime-gpu"} & set(locked_in(name))
        assert len(both) <= 1
        assert not {"opencv-python", "opencv-contrib-python"} & set(locked_in(name))


def test_what_these_tests_run_with_is_what_is_listed():
    for package, locked in locked_in("dev").items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            assert locked.marker, f"{package} is not installed"  # for another system or Python
        else:
            assert installed == locked.version, package


def test_systems_for_which_makers_no_longer_build_have_pins_of_their_own():
    """And every other system has the tested version."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if re.match(r"[\w.-]+==", line)]
    systems = [
        {"sys_platform": system, "platform_machine": machine}
        for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))
    ]
    old_mac = {"sys_platform": "darwin", "platform_machine": "x86_64"}
    marked = [pin for pin in map(Requirement, lines) if pin.marker is not None]
    assert {pin.name for pin in marked} == {"cryptography", "onnxruntime"}
    for name in ("cryptography", "onnxruntime"):
        new, old = (pin for pin in marked if pin.name == name)
        assert [new.marker.evaluate(system) for system in [*systems, old_mac]] == [True] * 4 + [False]
        assert [old.marker.evaluate(system) for system in [*systems, old_mac]] == [False] * 4 + [True]


def test_make_installs_from_the_lists():
    text = (ROOT / "Makefile").read_text()
    for environment, name in (("BIN", "dev"), ("SERVE_VENV", "service-cpu")):
        lists = rf"requirements/build\.txt requirements/{name}\.txt"
        assert re.search(rf"requirements/install \$\({environment}\)\S*/?python {lists}\n", text)


@pytest.mark.slow
def test_only_a_file_with_its_hash_is_installed(tmp_path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest, status in (("0" * 64, 1), (right, 0)):
        (tmp_path / "list.txt").write_text(f"--no-index\n--find-links {tmp_path}\ntiny==1.0 --hash=sha256:{digest}\n")
        done = subprocess.run([FOLDER / "install", python, tmp_path / "list.txt"], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert ("hash" in done.stderr.lower()) == bool(status)
        assert len(list((tmp_path / "venv").rglob("tiny.py"))) == 1 - status


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_version_with_a_known_hole_is_accepted(package, floor):
    requirements = [each for extra in EXTRAS for each in map(Requirement, EXTRAS[extra]) if each.name == package]
    assert requirements
    for requirement in requirements:
        (lowest,) = (each for each in requirement.specifier if each.operator == ">=")
        assert lowest.version in SpecifierSet(f">={floor}")


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    file = tmp_path_factory.mktemp("sbom") / "sbom.json"
    command = [sys.executable, FOLDER / "sbom.py", "--out", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(file.read_text())


def test_the_bill_of_materials_is_cyclonedx(bill):
    folder = Path(cyclonedx.schema.__file__).parent / "_res"
    schemas = {path.name: json.loads(path.read_text()) for path in folder.glob("*.SNAPSHOT.schema.json")}
    schema = schemas["bom-1.6.SNAPSHOT.schema.json"]
    base = schema["$id"].rsplit("/", 1)[0]  # the schemas name each other by the names of their files
    registry = Registry().with_resources(
        (f"{base}/{name}", DRAFT7.create_resource(each)) for name, each in schemas.items()
    )
    jsonschema.Draft7Validator(schema, registry=registry).validate(bill)
    assert bill["specVersion"] == "1.6"


def test_the_bill_names_every_package_and_what_needs_it(bill):
    components = {each["name"]: each for each in bill["components"] if each["type"] == "library"}
    # The folder is named: another test may have added setuptools' own copies of packages to this process's path.
    here = metadata.distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    installed = {canonicalize_name(each.metadata["Name"]): each.version for each in here}
    assert {name: each["version"] for name, each in components.items()} == {
        name: version for name, version in installed.items() if name != "face-liveness"
    }
    assert components["pillow"]["purl"] == f"pkg:pypi/pillow@{installed['pillow']}"
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("face-liveness", installed["face-liveness"])
    edges = {each["ref"]: set(each.get("dependsOn", [])) for each in bill["dependencies"]}
    assert f"pillow=={installed['pillow']}" in edges[root["bom-ref"]]
    assert f"starlette=={installed['starlette']}" in edges[f"fastapi=={installed['fastapi']}"]


def test_the_bill_has_the_model_with_the_hashes_of_its_files(bill):
    (model,) = (each for each in bill["components"] if each["type"] == "machine-learning-model")
    files = {each["name"]: each["hashes"] for each in model["components"]}
    folder = default_bundle_path()
    for name in ("bundle.json", "encoder.int8.onnx", "classifier.onnx", "golden.npz"):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert files[name] == [{"alg": "SHA-256", "content": digest}]
    edges = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert model["bom-ref"] in edges[bill["metadata"]["component"]["bom-ref"]]


def test_an_environment_without_the_project_is_refused(tmp_path):
    command = [
        sys.executable,
        FOLDER / "sbom.py",
        "--python",
        sys.base_prefix + "/bin/python3",
        "--out",
        tmp_path / "x",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={})
    assert done.returncode == 1
    assert "face-liveness is not installed" in done.stderr
