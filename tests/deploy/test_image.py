"""The service's CPU image, built from a clean clone and run for real: `make image-test`."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import liveness_core
from support.buildah_engine import Buildah
from support.clips import person_clip
from support.docker_engine import Docker
from support.engine import Container, Engine
from support.pictures import astronaut, encoded

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/face-liveness:image-test"
USER = 10001
LARGEST_MB = 700
BASE_MB = 131
"""python:3.11.16-slim-bookworm, unpacked, by docker-library/repo-info. A stand-in is larger and does not count."""
GRACE_S = 20

pytestmark = pytest.mark.timeout(1200)

if "IMAGE_TEST" not in os.environ:
    pytest.skip("takes minutes and the network: `make image-test`", allow_module_level=True)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Docker() if Docker.answers() else Buildah()


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What somebody gets who clones the repository: what is committed, and nothing else."""
    folder = tmp_path_factory.mktemp("clone") / "face-liveness"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def image(engine, clone) -> Iterator[str]:
    build_image = os.environ.get("BUILD_IMAGE")
    environment = os.environ | ({"BUILD_IMAGE": str(Path(build_image).resolve())} if build_image else {})
    done = subprocess.run(
        [clone / "docker" / "build.sh", "service-cpu", IMAGE],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield IMAGE
    engine.remove(IMAGE)


@pytest.fixture(scope="module")
def root(engine, image) -> Iterator[Path]:
    with engine.root(image) as folder:
        yield folder


@pytest.fixture(scope="module")
def container(engine, image) -> Iterator[Container]:
    with engine.started(image, {"LIVENESS_ALLOW_ANONYMOUS": "true"}) as started:
        yield started


def size_mb(folder: Path) -> float:
    """Of the files, each counted once; decimal, as image sizes are given."""
    files = {(found.st_dev, found.st_ino): found.st_size for found in map(os.lstat, folder.rglob("*"))}
    return sum(files.values()) / 1e6


def base_name(clone: Path) -> str:
    dockerfile = (clone / "docker" / "service-cpu.Dockerfile").read_text()
    return re.search(r"^FROM (\S+)@sha256", dockerfile, re.MULTILINE)[1]


def test_it_is_small(engine, image, root, clone):
    if engine.stands_in:
        with engine.root(base_name(clone)) as base:
            stand_in, whole = size_mb(base), size_mb(root)
        told = f"{whole:.0f} MB with the stand-in for its base image, which has {stand_in:.0f} MB; "
        size = BASE_MB + whole - stand_in
    else:
        told, size = "", size_mb(root)
    print(f"{told}{size:.0f} MB on {base_name(clone)}")  # noqa: T201 (`make image-test` shows it)
    assert size <= LARGEST_MB


def test_nothing_of_the_build_is_left_in_it(root):
    packages = root / "opt/venv/lib/python3.11/site-packages"
    installed = {path.name.split("-")[0] for path in packages.glob("*.dist-info")}
    assert {"face_liveness", "onnxruntime", "s3fs", "redis"} <= installed
    assert not installed & {"pip", "setuptools", "hatchling", "torch", "pytest", "onnxruntime_gpu", "opencv_python"}
    assert not list((root / "opt/venv").rglob("tests"))
    for folder in ("usr/local/bin", "usr/bin", "opt/venv/bin"):
        programs = {path.name for path in (root / folder).iterdir()}
        assert not programs & {"gcc", "cc", "c++", "ld", "make", "git", "curl", "wget"}, folder
    for leftover in ("src", "root/.cache", "tmp/*", "opt/venv/**/.git"):
        assert not list(root.glob(leftover)), leftover


def test_python_need_not_compile_anything_at_start(root):
    package = root / "opt/venv/lib/python3.11/site-packages/liveness_service"
    assert (package / "__pycache__" / "app.cpython-311.pyc").exists()


def test_it_says_what_it_is_and_how_to_run_it(engine, image, clone):
    config = engine.config(image)
    revision = subprocess.run(["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert config.user == f"{USER}:{USER}"
    assert (config.entrypoint, config.command) == (["liveness"], ["serve"])
    assert config.ports == ["8000/tcp"]
    assert config.labels["org.opencontainers.image.version"] == liveness_core.__version__
    assert config.labels["org.opencontainers.image.revision"] == revision.stdout.strip()
    assert config.labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_its_first_process_is_the_service_and_may_do_nothing_special(container):
    assert "liveness\0serve" in container.run("cat", "/proc/1/cmdline").stdout
    status = dict(line.split(":\t", 1) for line in container.run("cat", "/proc/1/status").stdout.splitlines())
    assert set(status["Uid"].split()) == {str(USER)}
    assert set(status["Gid"].split()) == {str(USER)}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_its_user_owns_none_of_its_code(container):
    changeable = ["!", "-user", "root", "-o", "!", "-type", "l", "-perm", "/022"]
    done = container.run("find", "/opt", "(", *changeable, ")")
    assert (done.returncode, done.stdout) == (0, "")


def test_its_root_cannot_be_written_to(container):
    for path in ("/opt/venv/x", "/var/lib/liveness/x", "/x"):
        done = container.run("touch", path)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr


def test_its_health_check_tells_a_ready_service_from_none(engine, image, container):
    command = engine.config(image).health_command
    assert container.run(*command).returncode == 0
    nobody = container.run("env", "LIVENESS_PORT=9", *command)
    assert nobody.returncode == 1
    assert "not ready" in nobody.stderr


def test_it_finds_the_astronaut_live(container):
    answer = httpx.post(f"{container.url}/v1/liveness", content=encoded(astronaut(), quality=95), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == "live"
    assert answer.json()["model"]["name"] == "default"


def test_it_scores_a_clip(container):
    answer = httpx.post(f"{container.url}/v1/liveness/video", content=person_clip(), timeout=120)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["frames"]) == 8
    assert 0 <= answer.json()["score"] <= 1


def test_it_leaves_no_trace_of_what_it_scored_nor_of_its_libraries(container):
    """ONNX Runtime keeps a device's number and a data base of usage below the home folder, where nobody forbids it."""
    assert container.run("find", "/tmp", "-mindepth", "1").stdout == ""


def test_its_log_is_json(container):
    httpx.get(f"{container.url}/v1/models", timeout=60).raise_for_status()
    deadline = time.monotonic() + 20
    while True:  # the line of a request is written after its answer was sent
        lines = [json.loads(line) for line in container.log().splitlines()]
        if {"model_loaded", "service_started", "request"} <= {line["event"] for line in lines}:
            return
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


def test_it_stops_in_good_order_when_told_to(engine, image):
    with engine.started(image, {"LIVENESS_ALLOW_ANONYMOUS": "true"}) as container:
        started = time.monotonic()
        assert container.stop(GRACE_S) == 0
        assert time.monotonic() - started < GRACE_S
        assert "service_stopped" in container.log()


def test_without_keys_it_does_not_start(engine, image):
    """It listens on all addresses of the container, so it asks for keys unless told otherwise."""
    with pytest.raises(AssertionError, match="LIVENESS_ALLOW_ANONYMOUS"), engine.started(image, {}):
        pass


def test_keys_that_it_made_itself_open_it(engine, image, container):
    made = container.run("liveness", "keys", "new", "client")
    (key,) = (line for line in made.stderr.splitlines() if line.startswith("lv_"))
    photo = encoded(astronaut())
    with engine.started(image, {"LIVENESS_API_KEYS": made.stdout.strip()}) as closed:
        url = f"{closed.url}/v1/liveness"
        assert httpx.post(url, content=photo, timeout=60).status_code == 401
        answer = httpx.post(url, content=photo, timeout=60, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200
