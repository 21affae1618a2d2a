"""What a user installs: the wheel alone, in any folder, with nothing that overwrites what we chose."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import liveness_core
from liveness_core.bundle import default_bundle_path

ROOT = Path(__file__).resolve().parents[2]

FROM_ELSEWHERE = """
import liveness_client, liveness_core, liveness_service
from liveness_core.bundle import default_bundle_path, load_bundle
print(liveness_service.__file__)
print(load_bundle(default_bundle_path()).path)
"""


@pytest.mark.slow
def test_the_wheel_finds_its_default_bundle_from_any_folder(tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", site, ROOT], check=True, timeout=240)
    # -I would drop PYTHONPATH; the path is put first instead, before the editable install's.
    program = f"import sys; sys.path.insert(0, {str(site)!r})\n{FROM_ELSEWHERE}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=elsewhere, capture_output=True, text=True, check=True, timeout=120
    )
    module, bundle = (Path(line) for line in done.stdout.splitlines())
    assert module.is_relative_to(site)
    assert bundle.is_relative_to(site)


@pytest.mark.parametrize(
    ("package", "missing", "told"),
    [
        ("liveness_service", "typer", "typer is not installed: pip install 'face-liveness[service]'"),
        *(
            pytest.param(
                "liveness_training",
                name,
                f"{name} is not installed: pip install 'face-liveness[{extra}]'",
                marks=pytest.mark.slow,
            )
            for name, extra in (("typer", "training"), ("jinja2", "training"), ("onnxruntime", "service"))
        ),
    ],
)
def test_a_missing_package_is_told_by_its_extra(package, missing, told):
    # Reports import jinja2 only when one is written.
    program = f"""
import sys
sys.modules[{missing!r}] = None
from {package} import __main__ as entry
if {missing!r} == "jinja2":
    import {package}.cli as cli
    cli.app = lambda: __import__({missing!r})
entry.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_default_bundle_lies_in_the_wheel_or_in_the_checkout():
    package = Path(liveness_core.__file__).parent
    if (package / "default_bundle").is_dir():
        assert default_bundle_path() == package / "default_bundle"
    else:
        assert default_bundle_path() == ROOT / "models" / "default"


def test_no_package_overwrites_opencv_or_onnxruntime():
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    assert "insightface" in installed
    assert "opencv-python-headless" in installed
    assert not installed & {"opencv-python", "opencv-contrib-python", "mtcnn-runtime"}
    assert len(installed & {"onnxruntime", "onnxruntime-gpu"}) == 1


def test_what_the_extra_insightface_leaves_out_is_only_what_would_overwrite():
    """A newer insightface may need more than the extra lists; then `--no-deps` would break it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    ours = {Requirement(each).name for each in extras["insightface"]}
    needs = {
        requirement.name
        for requirement in map(Requirement, metadata.requires("insightface") or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert needs - ours <= {"onnxruntime", "onnxruntime-gpu", "opencv-python", "numpy"}


@cache  # it reads a hundred lists of files
def installed_homes() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("core/liveness_core", []),
        ("service/liveness_service", ["web"]),
        ("training/liveness_training", ["training"]),
        ("clients/python/liveness_client", ["client"]),
    ],
)
def test_what_a_package_imports_is_what_its_extra_installs(package, extras):
    """An environment with all extras, as the tests have it, would hide a dependency that is not declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    # ONNX Runtime comes with `service` or `gpu`, whichever of the two is chosen.
    declared = {canonicalize_name(Requirement(each).name) for each in wanted} | {"face-liveness", "onnxruntime"}
    homes = installed_homes()
    for file in (ROOT / package).rglob("*.py"):
        tree = ast.parse(file.read_text())
        optional = {
            node
            for guarded in ast.walk(tree)
            if isinstance(guarded, ast.Try)
            and any(isinstance(each.type, ast.Name) and each.type.id == "ImportError" for each in guarded.handlers)
            for statement in guarded.body
            for node in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if node in optional:  # of another extra; what happens without it is written down there
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in {module.split(".")[0] for module in modules} - sys.stdlib_module_names:
                found = {canonicalize_name(home) for home in homes.get(name, [])}
                ours = name in ("liveness_core", "liveness_service", "liveness_training", "liveness_client")
                assert ours or found & declared, f"{file.relative_to(ROOT)} imports {name}"


def test_every_dependency_is_pinned():
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {canonicalize_name(Requirement(each).name) for each in wanted} - {"face-liveness"}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
