"""docker-compose.yml against the Compose specification, and its names against what it builds and mounts."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from liveness_service.settings import Settings, unknown_variables
from support.compose import (
    COMPOSE,
    DEFAULTS,
    OURS,
    PROFILES,
    SERVICES,
    TEXT,
    VARIABLE,
    ignored_by_git,
    image_of,
    mounts_of,
    published,
    started_with,
)
from support.dockerfile import ROOT


@pytest.fixture(params=SERVICES)
def service(request) -> dict[str, Any]:
    return SERVICES[request.param]


def test_it_is_what_the_specification_allows():
    schema = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


def test_up_gives_the_service_on_a_cpu_with_prometheus_and_grafana():
    assert started_with(PROFILES["COMPOSE_PROFILES"]) == {"liveness", "prometheus", "grafana"}


def test_the_profile_gpu_gives_the_other_service_in_its_place():
    assert started_with("gpu") == {"liveness-gpu", "prometheus", "grafana"}
    assert SERVICES["liveness-gpu"]["networks"]["default"]["aliases"] == ["liveness"]
    (device,) = SERVICES["liveness-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_no_two_that_run_together_take_one_port():
    for profile in ("cpu", "gpu"):
        ports = [port for name in started_with(profile) for _, port, _ in published(SERVICES[name])]
        assert len(ports) == len(set(ports))


def test_every_file_it_names_is_in_the_repository_or_made_by_its_owner():
    paths = [source for service in SERVICES.values() for source, _ in mounts_of(service).values() if "/" in source]
    paths += [secret["file"] for secret in COMPOSE["secrets"].values()]
    paths += [each["path"] for service in SERVICES.values() for each in service.get("env_file", [])]
    paths += [service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service]
    for path in {path.removeprefix("./") for path in paths}:
        assert (ROOT / path).exists() or ignored_by_git(path), path


def test_every_volume_is_declared_and_used():
    used = {source for service in SERVICES.values() for source, _ in mounts_of(service).values() if "/" not in source}
    assert used == set(COMPOSE["volumes"])


def test_every_secret_is_declared_used_and_made():
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    made = (ROOT / "docker" / "secrets.sh").read_text()
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).parent == Path("docker/secrets")
        assert Path(secret["file"]).name in made


def test_no_secret_is_written_into_it():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|TOKEN|SECRET", name):
                assert name.endswith("_FILE")
                assert str(value).removeprefix("/run/secrets/") in service["secrets"]


def test_what_is_built_has_a_dockerfile_and_what_is_not_is_pinned(service):
    if "build" in service:
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["image"].startswith("face-liveness:")
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", service["image"])


def test_nothing_is_reached_from_other_machines_unless_somebody_changes_it(service):
    assert all(address == "127.0.0.1" for address, _, _ in published(service))


def test_each_is_confined(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert service["restart"] == ("no" if service is SERVICES["training"] else "unless-stopped")


def test_each_starts_after_what_it_needs_is_healthy(service):
    for name, how in service.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        needed = SERVICES[name]
        assert "healthcheck" in needed or image_of(needed).all("HEALTHCHECK")
        # One that a profile leaves out would otherwise make the whole file invalid.
        assert how.get("required", True) is not ("profiles" in needed)


@pytest.mark.parametrize("name", OURS)
def test_the_service_listens_where_its_image_says(name):
    service = SERVICES[name]
    ((_, host, inside),) = published(service)
    assert inside == int(image_of(service).one("EXPOSE")) == Settings.model_fields["port"].default
    assert host == 8000


@pytest.mark.parametrize("name", OURS)
def test_its_settings_exist_and_are_valid(name, monkeypatch):
    service = SERVICES[name]
    variables = image_of(service).environment() | service["environment"]
    assert unknown_variables(variables) == []
    for each, value in variables.items():
        if each.startswith("LIVENESS_"):
            monkeypatch.setenv(each, str(value))
    settings = Settings()
    assert settings.active_model is settings.bundle_path is None
    assert mounts_of(service)[str(settings.models_url)] == ("models", False)
    assert str(settings.models_state).startswith("/var/lib/liveness/")
    assert mounts_of(service)["/var/lib/liveness"] == ("state", True)
    assert str(settings.api_keys_file).removeprefix("/run/secrets/") in service["secrets"]
    assert str(settings.session_key_file).removeprefix("/run/secrets/") in service["secrets"]
    assert str(settings.models_cache) in mounts_of(service)
    grace = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert int(grace[1]) * 1000 > settings.shutdown_grace_ms


@pytest.mark.parametrize("name", OURS)
def test_its_threads_are_as_many_as_the_cores_it_may_use(name):
    service = SERVICES[name]
    cores = float(service["deploy"]["resources"]["limits"]["cpus"])
    assert int(service["environment"]["LIVENESS_PREPARATION_THREADS"]) <= cores


def test_training_writes_bundles_that_the_services_only_read():
    assert mounts_of(SERVICES["training"])["/models"] == ("models", True)
    for name in OURS:
        assert mounts_of(SERVICES[name])["/models"] == ("models", False)
        assert SERVICES[name]["user"] == SERVICES["training"]["user"] == image_of(SERVICES[name]).one("USER")
    assert mounts_of(SERVICES["training"])["/data"][1] is False
    for target in ("/models", image_of(SERVICES["training"]).one("WORKDIR")):
        assert target in " ".join(image_of(SERVICES["training"]).all("RUN")).split()


def test_every_variable_is_a_setting_or_explained():
    guide = (ROOT / "docs" / "deployment.md").read_text()
    settings = {f"LIVENESS_{name.upper()}" for name in Settings.model_fields}
    for name in DEFAULTS:
        assert name in settings or f"`{name}`" in guide, name
    assert TEXT.count("${") == len(VARIABLE.findall(TEXT)), "each has a default"


def test_prometheus_finds_its_rules_its_key_and_the_service():
    service = SERVICES["prometheus"]
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    assert "--config.file=/etc/prometheus/prometheus.yml" in service["command"]
    for pattern in config["rule_files"]:
        folder, name = pattern.rsplit("/", 1)
        # A relative one is relative to the file that names it.
        source, _ = mounts_of(service)[str(Path("/etc/prometheus") / folder)]
        assert list((ROOT / source).glob(name)), pattern
    text = json.dumps(config)
    for path in re.findall(r'"(/run/secrets/\w+)"', text):
        assert path.removeprefix("/run/secrets/") in service["secrets"]
    targets = {
        target
        for job in config["scrape_configs"]
        for each in job.get("static_configs", [])
        for target in each["targets"]
    }
    ((_, _, port),) = published(SERVICES["liveness"])
    assert f"liveness:{port}" in targets
    for target in targets:
        name, _, port = target.partition(":")
        assert name == "localhost" or int(port) in [inside for _, _, inside in published(SERVICES[name])]


def test_grafana_finds_its_dashboards_and_prometheus():
    mounts = mounts_of(SERVICES["grafana"])
    provisioning = ROOT / mounts["/etc/grafana/provisioning"][0]
    ((_, _, port),) = published(SERVICES["prometheus"])
    sources = [
        each
        for path in (provisioning / "datasources").glob("*.y*ml")
        for each in yaml.safe_load(path.read_text())["datasources"]
    ]
    assert [each["url"] for each in sources if each["type"] == "prometheus"] == [f"http://prometheus:{port}"]
    providers = [
        each
        for path in (provisioning / "dashboards").glob("*.y*ml")
        for each in yaml.safe_load(path.read_text())["providers"]
    ]
    assert providers
    for each in providers:
        source, _ = mounts[each["options"]["path"]]
        assert list((ROOT / source).glob("*.json"))
