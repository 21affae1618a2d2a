"""Dashboards: ids, names, places, and every query as a real Prometheus reads it."""

import json
import re

import pytest
import yaml

from support.prometheus import DOCKER, exported, running_prometheus, used

GRAFANA = DOCKER.parent / "grafana"
RUNBOOKS = DOCKER.parents[1] / "docs" / "runbooks.md"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
RECORDS = set(re.findall(r"record: (\S+)", (DOCKER / "rules" / "recording.yml").read_text()))
VARIABLES = {
    "$__rate_interval": "1m",
    "$__range": "6h",
    "$endpoint": ".*",
    "$instance": ".*",
    "$key": ".*",
    "$version": ".*",
}


def queries(dashboard):
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"]).group(1))
    return found


def substituted(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_told_apart_and_do_not_overlap(name):
    dashboard = DASHBOARDS[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        assert all(target["datasource"]["uid"] == "prometheus" for target in panel["targets"])
        for link in panel.get("links", []):
            name = link["title"].removeprefix("Runbook ")
            assert link["url"] == "${runbooks:raw}#" + name.lower()
            assert f"\n## {name}\n" in RUNBOOKS.read_text()


def test_dashboards_are_told_apart_and_find_their_source():
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 3
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == ("prometheus", "prometheus")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_names_what_the_service_exports(name):
    known = exported()
    for expression in queries(DASHBOARDS[name]):
        names = list(used(expression))
        assert names, expression
        for metric, labels in names:
            if metric not in RECORDS:
                assert metric in known, expression
                assert labels <= known[metric], expression


def test_a_real_prometheus_reads_every_query(tmp_path):
    with running_prometheus(tmp_path, "127.0.0.1:1") as prometheus:
        for dashboard in DASHBOARDS.values():
            for expression in queries(dashboard):
                prometheus.query(substituted(expression))
