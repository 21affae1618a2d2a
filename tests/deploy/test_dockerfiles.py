"""What can be known of the Dockerfiles without building them; `make image-test` builds and runs one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from liveness_service.settings import Settings, unknown_variables
from support.dockerfile import DOCKERFILES, ROOT, Stage, stages_of
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES = [path for path in DOCKERFILES if path.name.startswith("service-")]


def name_of(path: Path) -> str:
    return path.stem


@pytest.fixture(params=DOCKERFILES, ids=name_of)
def dockerfile(request) -> Path:
    return request.param


@pytest.fixture(params=SERVICES, ids=name_of)
def service(request) -> Stage:
    return stages_of(request.param)[-1]


def build_of(path: Path) -> Stage:
    (build,) = (stage for stage in stages_of(path) if "AS build" in stage.image)
    return build


def installs_of(path: Path) -> list[str]:
    """The commands of pip that put something into the environment of the image."""
    commands = build_of(path).one("RUN").split("&&")
    return [each.strip() for each in commands if " install " in each and "--python /opt/venv/bin/python" in each]


def test_there_is_one_for_each_purpose():
    assert [path.stem for path in DOCKERFILES] == ["service-cpu", "service-gpu", "training-gpu"]


def test_all_have_the_same_base_pinned_by_tag_and_digest():
    bases = {stages_of(path)[0].image for path in DOCKERFILES}
    (base,) = bases
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64} AS base", base)


def test_what_builds_is_not_what_runs(dockerfile):
    first, build, image = stages_of(dockerfile)
    assert first.instructions == []
    assert (build.image, image.image) == ("base AS build", "base")
    assert "pip install" not in image.one("RUN")
    assert "apt-get" not in image.one("RUN")
    assert [
        copied for copied in image.all("COPY") if not copied.startswith(("--from=build /opt/venv ", "docker/"))
    ] == []


def test_the_user_is_not_root_and_the_same_everywhere(dockerfile):
    image = stages_of(dockerfile)[-1]
    names = [name for name, _ in image.instructions]
    assert image.one("USER") == "10001:10001"
    assert "RUN" not in names[names.index("USER") :]


def test_the_first_process_is_a_command_of_the_project_without_a_shell(dockerfile):
    image = stages_of(dockerfile)[-1]
    (command,) = image.words("ENTRYPOINT")
    assert command in PROJECT["project"]["scripts"]
    assert image.words("CMD") == (["--help"] if command == "liveness-train" else ["serve"])


def test_only_files_with_a_listed_hash_are_installed_and_none_is_built(dockerfile):
    packages, ours = installs_of(dockerfile)
    assert packages.endswith(f"-r requirements/{dockerfile.stem}.txt")
    commands = build_of(dockerfile).one("RUN").split("&&")
    (tools,) = (each for each in commands if "--python /opt/build/bin/python" in each)
    assert tools.strip().endswith("-r requirements/build.txt")
    for command in (packages, tools):
        assert "--require-hashes --no-deps --only-binary :all:" in command
    assert ours.endswith("--no-deps --no-index /opt/build/wheel/*.whl")
    known = {packages, ours, tools.strip()}
    assert not [each for each in commands if " install " in each and each.strip() not in known]


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that has imported the service."""
    program = "import sys, onnxruntime, liveness_service.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("service", SERVICES, ids=name_of)
def test_what_an_image_leaves_out_nothing_imports(service, loaded):
    (removed,) = re.findall(r"rm -r (/opt.*?)&&", build_of(service).one("RUN"))
    names = [Path(path).name for path in removed.split()]
    assert names == ["quantization", "tools", "transformers"]
    assert not {f"onnxruntime.{name}" for name in names} & loaded


def test_the_context_has_what_the_wheel_is_made_of_and_no_more():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    needed = {folder for folder in allowed if any(path.startswith(f"{folder}/") for path in wheel)}
    assert all(any(path.startswith(f"{folder}/") for folder in needed) for path in wheel)
    files = {"pyproject.toml", "README.md", "LICENSE", "requirements/*.txt", "docker/healthcheck.py"}
    assert allowed == needed | files
    for path in allowed:
        assert list(ROOT.glob(path)), path


def test_what_the_service_writes_has_a_place_that_is_its_own_and_open_to_group_0(service):
    (made,) = re.findall(r"install -d -m 2775 -o 10001 -g 0 (.*?)(?:&&|$)", " ".join(service.all("RUN")))
    assert made.split() == ["/var/cache/liveness", "/var/lib/liveness", "/models"]
    assert str(Settings.model_fields["models_cache"].default) in made.split()


def test_the_port_is_the_one_the_service_listens_on(service):
    assert int(service.one("EXPOSE")) == Settings.model_fields["port"].default


def test_settings_in_the_image_exist_and_are_valid(service, monkeypatch):
    ours = {name: value for name, value in service.environment().items() if name.startswith("LIVENESS_")}
    assert unknown_variables(ours) == []
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert Settings().host == "0.0.0.0"


def test_nothing_is_reported_to_anybody(dockerfile):
    assert stages_of(dockerfile)[-1].environment()["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_gpu_image_is_not_ready_without_a_gpu():
    environment = stages_of(ROOT / "docker" / "service-gpu.Dockerfile")[-1].environment()
    assert environment["LIVENESS_PROVIDER"] == "cuda"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"


def test_labels_carry_version_and_revision(dockerfile):
    image = stages_of(dockerfile)[-1]
    label = image.one("LABEL")
    assert 'org.opencontainers.image.version="$VERSION"' in label
    assert 'org.opencontainers.image.revision="$REVISION"' in label
    assert {each.split("=")[0] for each in image.all("ARG")} == {"VERSION", "REVISION"}
    base = stages_of(dockerfile)[0].image.split("@")[0]
    assert f'org.opencontainers.image.base.name="docker.io/library/{base}"' in label


def test_the_health_check_is_there_and_runs_without_a_shell(service):
    check = service.one("HEALTHCHECK")
    assert check.endswith('CMD ["python", "/opt/healthcheck.py"]')
    assert "docker/healthcheck.py /opt/healthcheck.py" in service.all("COPY")


def health_check(server):
    return subprocess.run(
        [sys.executable, ROOT / "docker" / "healthcheck.py"],
        env={"PORT": server.url.rsplit(":", 1)[1]},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_health_check_asks_whether_the_service_is_ready(tmp_path):
    make_tiny_bundle(tmp_path / "tiny")
    with running_server(tmp_path, bundle_path=str(tmp_path / "tiny"), workers="0") as server:
        done = health_check(server)
    assert done.returncode == 0, done.stderr
    assert "not ready" not in done.stderr
    with running_server(tmp_path, bundle_path=str(tmp_path / "nowhere"), workers="0") as without_a_bundle:
        done = health_check(without_a_bundle)
    assert done.returncode == 1, done.stderr
    assert "not ready: HTTP Error 503" in done.stderr
