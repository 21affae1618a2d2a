"""Clients that generators make of the API's description: without a warning, with the names that docs/api.md has."""

import importlib
import io
import shutil
import subprocess
import sys

import httpx
import pytest

from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    make_tiny_bundle(folder / "tiny", bias=5)
    with running_server(folder, bundle_path=str(folder / "tiny"), workers="1") as started:
        (folder / "openapi.json").write_bytes(httpx.get(f"{started.url}/openapi.json").content)
        yield started


def generated(program, folder, *arguments):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_a_python_client_scores_a_photo(server, tmp_path, monkeypatch):
    description = server.log_file.with_name("openapi.json")
    generated("openapi-python-client", tmp_path, "generate", "--path", str(description), "--meta", "none")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    client = importlib.import_module("face_liveness_client")
    api = importlib.import_module("face_liveness_client.api.liveness.score_image")
    models = importlib.import_module("face_liveness_client.models")
    types = importlib.import_module("face_liveness_client.types")
    form = models.ImageForm(image=types.File(payload=io.BytesIO(encoded(astronaut()))))
    with client.Client(base_url=server.url) as connection:
        answer = api.sync(client=connection, body=form)
        refused = api.sync(client=connection, body=types.File(payload=io.BytesIO(b"hello")))
        reasons = importlib.import_module("face_liveness_client.api.liveness.list_reasons").sync(client=connection)
    assert answer.verdict is models.Verdict.LIVE
    assert refused.code is models.ErrorCode.UNSUPPORTED_MEDIA
    assert models.Reason.NO_FACE in {row.reason for row in reasons.reasons}
    for name in ("score_clip", "list_reasons"):
        importlib.import_module(f"face_liveness_client.api.liveness.{name}")
    for name in ("open_session", "upload_to_session", "read_session"):
        importlib.import_module(f"face_liveness_client.api.sessions.{name}")


def test_a_typescript_client_has_the_names(server, tmp_path):
    description = server.log_file.with_name("openapi.json")
    generated("openapi-typescript", tmp_path, str(description), "--output", "liveness.d.ts")
    text = (tmp_path / "liveness.d.ts").read_text()
    for name in ("score_image", "score_clip", "open_session", "read_session", "list_reasons", "list_models"):
        assert f'operations["{name}"]' in text
    assert 'Verdict: "live" | "spoof" | "undetermined";' in text
