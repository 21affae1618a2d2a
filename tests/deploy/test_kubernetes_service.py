"""What kubernetes/ says of the service against the service: settings, probes, metrics, times."""

import importlib.util
import re
from functools import cache

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from liveness_service.app import create_app
from liveness_service.cli import app
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings, unknown_variables
from support.manifests import KUBERNETES, OVERLAYS, Overlay, overlay
from support.server import running_server


@pytest.fixture(params=OVERLAYS)
def rendered(request) -> Overlay:
    return overlay(request.param)


@pytest.fixture
def settings(rendered, monkeypatch) -> Settings:
    """As the service in the pod reads them."""
    for name, value in rendered.settings.items():
        monkeypatch.setenv(name, value)
    return Settings()


def seconds_of_prestop(rendered: Overlay) -> int:
    command, seconds = rendered.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    return int(seconds)


@cache
def exported() -> set[str]:
    return {sample.name for metric in Metrics().registry.collect() for sample in metric.samples}


@cache
def routes() -> set[str]:
    return set(create_app(Settings()).openapi()["paths"])


def test_the_service_knows_and_takes_every_setting(rendered, settings):
    assert unknown_variables(rendered.settings) == []
    assert all(name.startswith("LIVENESS_") for name in rendered.settings)
    assert settings.port == rendered.container["ports"][0]["containerPort"]


def test_kubernetes_own_variables_do_not_become_settings(rendered):
    """For a Service `liveness` it would set LIVENESS_PORT=tcp://…, and no pod would start."""
    assert rendered.pod["spec"]["enableServiceLinks"] is False


def test_the_keys_are_where_the_service_reads_them(rendered, settings):
    mounts = {each["mountPath"]: each["name"] for each in rendered.container["volumeMounts"]}
    volumes = {each["name"]: each for each in rendered.pod["spec"]["volumes"]}
    secret = volumes[mounts[str(settings.api_keys_file.parent)]]["secret"]
    assert secret["secretName"] == "liveness-api-keys"
    assert secret["defaultMode"] == 0o440
    assert settings.session_key_file.parent == settings.api_keys_file.parent
    made = "create secret generic liveness-api-keys --from-file=api_keys --from-file=session_key"
    assert made in (KUBERNETES.parent / "docs" / "kubernetes.md").read_text()
    assert settings.api_keys is None
    assert not settings.allow_anonymous


def test_what_the_service_writes_to_is_writable(rendered, settings):
    volumes = {each["name"]: each for each in rendered.pod["spec"]["volumes"]}
    writable = {each["mountPath"] for each in rendered.container["volumeMounts"] if "emptyDir" in volumes[each["name"]]}
    assert writable == {"/tmp", str(settings.models_cache)}
    assert settings.models_state is None  # a file of one replica would undo what the others' settings say


def test_bundles_are_read_from_the_volume():
    rendered = overlay("with-bundles")
    assert rendered.settings["LIVENESS_MODELS_URL"] in {
        each["mountPath"] for each in rendered.container["volumeMounts"] if each.get("readOnly")
    }
    assert rendered.settings["LIVENESS_ACTIVE_MODEL"]


def test_probes_ask_routes_that_there_are(rendered):
    probes = {name: rendered.container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {each["path"] for each in probes.values()} <= routes()
    assert {each["port"] for each in probes.values()} == {rendered.container["ports"][0]["name"]}
    assert probes["readinessProbe"]["path"] == "/health/ready"
    # Neither a broken bundle nor a full queue is cured by a restart.
    assert probes["livenessProbe"]["path"] == "/health/live"


def test_what_was_accepted_is_answered_before_the_pod_ends(rendered, settings):
    """Photos and clips that have arrived; and nothing arrives any more once the pod is known to go."""
    grace = rendered.pod["spec"]["terminationGracePeriodSeconds"]
    longest = max(settings.deadline_ms, settings.clip_deadline_ms)
    assert longest < settings.shutdown_grace_ms
    assert seconds_of_prestop(rendered) + settings.shutdown_grace_ms / 1000 + 5 <= grace


def test_threads_are_those_of_the_cpu_that_is_asked_for(rendered, settings):
    assert settings.preparation_threads == int(rendered.container["resources"]["requests"]["cpu"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_autoscaler_asks_for_metrics_that_there_are(name):
    metrics = overlay(name).one("HorizontalPodAutoscaler")["spec"]["metrics"]
    pods = {each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"}
    assert pods == {"liveness_inflight_requests", "liveness_queue_depth"}
    assert pods <= exported()
    resources = [each["resource"]["name"] for each in metrics if each["type"] == "Resource"]
    assert resources == ([] if name == "gpu" else ["cpu"])


def test_more_replicas_come_before_requests_are_refused(rendered, settings):
    metrics = rendered.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    (target,) = [
        int(each["pods"]["target"]["averageValue"])
        for each in metrics
        if each["type"] == "Pods" and each["pods"]["metric"]["name"] == "liveness_inflight_requests"
    ]
    assert settings.preparation_threads < target <= settings.max_inflight / 2


def test_the_adapter_offers_what_the_autoscaler_asks_for(rendered):
    rules = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    asked = {
        each["pods"]["metric"]["name"]
        for each in rendered.one("HorizontalPodAutoscaler")["spec"]["metrics"]
        if each["type"] == "Pods"
    }
    for rule in rules:
        (pattern,) = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
        offered = {name for name in exported() if re.fullmatch(pattern, name)}
        assert offered == asked
        assert rule["resources"]["overrides"] == {
            "namespace": {"resource": "namespace"},
            "pod": {"resource": "pod"},
        }


def test_prometheus_scrapes_the_service_with_a_key():
    rendered = overlay("with-prometheus-operator")
    monitor, service = rendered.one("ServiceMonitor")["spec"], rendered.one("Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}
    assert endpoint["path"] in routes()
    assert endpoint["authorization"]["credentials"] == {"name": "liveness-metrics-key", "key": "metrics_key"}
    # docker/prometheus names its job so, and the rules ask for it.
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "liveness"


def test_the_operators_rules_are_those_of_docker_prometheus():
    spec = importlib.util.spec_from_file_location("prometheus_rule", KUBERNETES / "prometheus_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept = module.TARGET.read_text()
    assert yaml.safe_load(kept)["spec"]["groups"] == module.groups(), "run `make kubernetes-rules` and commit the file"
    assert kept == module.manifest(), "run `make kubernetes-rules` and commit the file"


@pytest.mark.slow
def test_the_service_passes_its_probes_and_is_scraped(tmp_path):
    rendered = overlay("with-prometheus-operator")
    made = CliRunner().invoke(app, ["keys", "new", "prometheus", "--permissions", "operations"])
    assert made.exit_code == 0, made.output
    (tmp_path / "api_keys").write_text(made.stdout)
    (key,) = [line for line in made.stderr.split() if line.startswith("lv_")]

    settings = {name.removeprefix("LIVENESS_").lower(): value for name, value in rendered.settings.items()}
    (tmp_path / "session_key").write_text("s" * 32)
    settings |= {"host": "0.0.0.0", "api_keys_file": str(tmp_path / "api_keys")}
    settings["session_key_file"] = str(tmp_path / "session_key")
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
