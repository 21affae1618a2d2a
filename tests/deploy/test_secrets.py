"""docker/secrets.sh: what `make secrets` leaves in docker/secrets/."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from liveness_service.sessions.token import read_session_key
from support.dockerfile import ROOT

LIVENESS = Path(sys.executable).parent / "liveness"
_SAID = """#!/bin/sh
case "$*" in
  "keys new client --permissions score") name=client ;;
  "keys new prometheus --permissions operations") name=prometheus ;;
  *) exit 2 ;;
esac
cat "$0.$name.out"
cat "$0.$name.err" >&2
"""


@pytest.fixture(params=["said", pytest.param("run", marks=pytest.mark.slow)])
def liveness(request, tmp_path) -> Path:
    """The command; or one that says what it says, without the seconds that it takes to start twice."""
    if request.param == "run":
        return LIVENESS
    command = tmp_path / "liveness"
    command.write_text(_SAID)
    command.chmod(0o755)
    for name, permissions in (("client", "score"), ("prometheus", "operations")):
        made = CliRunner().invoke(app, ["keys", "new", name, "--permissions", permissions])
        assert made.exit_code == 0, made.output
        (tmp_path / f"liveness.{name}.out").write_text(made.stdout)
        (tmp_path / f"liveness.{name}.err").write_text(made.stderr)
    return command


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / "secrets").mkdir()
    return Path(shutil.copy(ROOT / "docker" / "secrets.sh", tmp_path))


def run(script: Path, liveness: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, liveness], capture_output=True, text=True, timeout=120)


def test_it_makes_what_compose_mounts_and_the_key_for_the_client(script, liveness):
    done = run(script, liveness)
    assert done.returncode == 0, done.stderr
    folder = script.parent / "secrets"
    content = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(content) == {"api_keys", "metrics_key", "grafana_password", "session_key", "client_key"}
    assert [line.split(":")[:2] for line in content["api_keys"].splitlines()] == [
        ["client", "score"],
        ["prometheus", "operations"],
    ]
    # Prometheus and Grafana take the whole file, line break included or not.
    assert content["metrics_key"].startswith("lv_")
    assert content["metrics_key"] == content["metrics_key"].strip()
    assert len(content["grafana_password"]) == 24
    assert len(read_session_key(folder / "session_key")) == 48
    assert content["client_key"].strip() != content["metrics_key"]
    assert content["metrics_key"] not in content["api_keys"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_it_does_not_replace_keys_that_are_in_use(script):
    (script.parent / "secrets" / "api_keys").write_text("in use")
    done = run(script, LIVENESS)
    assert done.returncode == 1
    assert "nothing changed" in done.stderr
    assert [path.name for path in (script.parent / "secrets").iterdir()] == ["api_keys"]
