"""Access as an operator sets it up: keys made by the command, a service that does not start open to others."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from support.pictures import astronaut, encoded
from support.requests import bearer
from support.server import port_in_log, running_server
from support.tiny_bundle import make_tiny_bundle

COMMAND = Path(sys.executable).parent / "liveness"


def make_key(folder, name, permissions):
    made = CliRunner().invoke(app, ["keys", "new", name, "--permissions", permissions])
    with (folder / "keys").open("a") as file:
        file.write(made.stdout)
    return next(line for line in made.stderr.splitlines() if line.startswith("lv_"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "live"
    make_tiny_bundle(path, bias=5)
    return str(path)


def test_keys_that_the_command_made_open_a_service_that_others_can_reach(tmp_path, bundle):
    backend, prometheus = make_key(tmp_path, "backend", "score"), make_key(tmp_path, "prometheus", "operations")
    audit = tmp_path / "audit.jsonl"
    with running_server(
        tmp_path,
        bundle_path=bundle,
        host="0.0.0.0",
        workers="0",
        api_keys_file=str(tmp_path / "keys"),
        audit_log_path=str(audit),
    ) as server:
        with server.client() as client:
            photo = encoded(astronaut())
            assert client.post("/v1/liveness", content=photo).status_code == 401
            assert client.post("/v1/liveness", content=photo, headers=bearer(prometheus)).status_code == 403
            assert client.post("/v1/liveness", content=photo, headers=bearer(backend)).json()["verdict"] == "live"
            assert client.get("/metrics").status_code == 401
            metrics = client.get("/metrics", headers=bearer(prometheus)).text
        assert 'liveness_key_verdicts_total{endpoint="/v1/liveness",key="backend",verdict="live"} 1.0' in metrics
        [access] = [line for line in server.log() if line["event"] == "access"]
        assert (access["mode"], access["keys"]) == ("keys", ["backend", "prometheus"])
        log = server.log_file.read_text()
        assert '"key": "backend"' in audit.read_text()
    for key in (backend, prometheus):
        assert key not in log


@pytest.mark.slow  # tests/service/test_cli.py asks without a process
def test_without_keys_it_does_not_start_where_others_can_reach_it():
    environment = os.environ | {"LIVENESS_HOST": "0.0.0.0"}
    command = [COMMAND, "serve", "--port", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "liveness keys new" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow  # tests/service/access/test_policy.py asks without a server
def test_another_server_that_is_told_to_listen_to_all_serves_its_own_machine_only(tmp_path, bundle):
    """`uvicorn --factory` knows nothing of LIVENESS_HOST, which says 127.0.0.1 here."""
    own_address = _own_address()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "liveness_service.app:create_app"),
                *("--host", "0.0.0.0", "--port", "0"),
            ],
            env=os.environ | {"LIVENESS_BUNDLE_PATH": bundle, "LIVENESS_WORKERS": "0"},
            stdout=log,
            stderr=log,
        )
    try:
        port = port_in_log(process, tmp_path / "log")
        with httpx.Client(timeout=60) as client:
            assert client.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
            refused = client.get(f"http://{own_address}:{port}/v1/models")
        assert refused.status_code == 401
        assert "its own machine only" in refused.json()["detail"]
    finally:
        process.kill()
        process.wait()


def _own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks which address would be used
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return probe.getsockname()[0]
