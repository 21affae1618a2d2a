"""The service as hosting platforms run it: with a user of their choice, on a read-only root, with their variables."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

SUPPORT = Path(__file__).parents[1] / "support"
USER = 1000660000
LIVENESS = Path(sys.executable).parent / "liveness"


@pytest.fixture
def as_another_user(tmp_path):
    """The command that runs the service so, and a folder to which it may write."""
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o2775)
    command = ["unshare", "--mount", "sh", str(SUPPORT / "enter_uid.sh"), str(USER), str(folder)]
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs unshare and setpriv")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=60)
    if tried.returncode != 0:
        pytest.skip(f"needs root and namespaces: {tried.stderr.strip()}")
    return command, folder


@pytest.mark.slow
def test_it_starts_scores_records_and_remembers_with_any_user_of_group_0_on_a_read_only_root(
    as_another_user, tmp_path, monkeypatch
):
    command, folder = as_another_user
    for name in ("one", "other"):
        make_tiny_bundle(tmp_path / "store" / name, bias=5)
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    monkeypatch.setenv("UVICORN_WORKERS", "4")
    audit = folder / "audit.jsonl"
    settings = {
        "audit_log_path": str(audit),
        "models_url": str(tmp_path / "store"),
        "active_model": "one",
        "models_state": str(folder / "models.json"),
        "workers": "1",
        "port": "tcp://10.0.0.1:80",  # what Kubernetes sets for a service that is called `liveness`
        "service_host": "10.0.0.1",
    }
    with running_server(tmp_path, command=[*command, LIVENESS], **settings) as server, server.client() as client:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        assert "\nGid:\t0\t" in status
        answer = client.post("/v1/liveness", content=encoded(astronaut(), quality=95))
        assert answer.json()["verdict"] == "live", answer.text
        switched = client.put("/v1/operations/models/active?force=true", json={"model": "other"})
        assert switched.json()["active"]["model"] == "other", switched.text
        assert client.get("/health/ready").status_code == 200
        warned = {line["variable"]: line["note"] for line in server.log() if line["event"] == "variable_without_effect"}
        assert server.stop() == 0
    assert {"WEB_CONCURRENCY", "UVICORN_WORKERS", "LIVENESS_SERVICE_HOST", "LIVENESS_PORT"} <= set(warned)
    assert "LIVENESS_WORKERS" in warned["WEB_CONCURRENCY"]
    assert audit.stat().st_uid == USER
    assert audit.read_text().count('"event": "verdict"') == 1
    assert '"other"' in (folder / "models.json").read_text()
