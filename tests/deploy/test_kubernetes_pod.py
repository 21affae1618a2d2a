"""The service with a pod's settings, probed and scraped as the manifests say."""

import httpx
from typer.testing import CliRunner

from liveness_service.cli import app
from support.manifests import overlay
from support.server import running_server


def test_the_service_passes_its_probes_and_is_scraped(tmp_path):
    rendered = overlay("with-prometheus-operator")
    made = CliRunner().invoke(app, ["keys", "new", "prometheus", "--permissions", "operations"])
    assert made.exit_code == 0, made.output
    (tmp_path / "api_keys").write_text(made.stdout)
    (key,) = [line for line in made.stderr.split() if line.startswith("lv_")]

    settings = {name.removeprefix("LIVENESS_").lower(): value for name, value in rendered.settings.items()}
    settings |= {"host": "0.0.0.0", "api_keys_file": str(tmp_path / "api_keys")}
    (endpoint,) = rendered.one("ServiceMonitor")["spec"]["endpoints"]
    with running_server(tmp_path, **settings) as server, server.client() as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            answer = client.get(rendered.container[probe]["httpGet"]["path"])
            assert answer.status_code == 200, (probe, answer.text)  # kubelets have no key
        assert client.get(endpoint["path"]).status_code == httpx.codes.UNAUTHORIZED
        # The operator's `authorization` without a type.
        scraped = client.get(endpoint["path"], headers={"Authorization": f"Bearer {key}"})
    assert scraped.status_code == 200
    assert "\nliveness_inflight_requests 0.0\n" in scraped.text
    assert "\nliveness_queue_depth 0.0\n" in scraped.text
