"""What docker-compose.yml mounts into Prometheus and Grafana against what those files name."""

import json
import re
from pathlib import Path

import yaml

from support.compose import SERVICES, mounts_of, published
from support.dockerfile import ROOT


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
