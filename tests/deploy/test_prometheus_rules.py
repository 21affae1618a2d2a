"""Rules, alerts and their runbooks: promtool passes, every name exists, nothing lacks a section or a test."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from support import promql
from support.prometheus import DOCKER, command, config_for

RUNBOOKS = (DOCKER.parents[1] / "docs" / "runbooks.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL))
RULES = [
    rule
    for path in sorted((DOCKER / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}
TESTS = sorted((DOCKER / "tests").glob("*.yml"))


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([command("promtool"), *arguments], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid(tmp_path):
    promtool("check", "config", config_for(tmp_path, "liveness:8000"))


def test_the_rules_are_valid():
    promtool("check", "rules", *sorted((DOCKER / "rules").glob("*.yml")))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path):
    promtool("test", "rules", path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_what_the_service_exports(rule):
    known = promql.exported()
    names = list(promql.used(rule["expr"]))
    assert names
    for name, labels in names:
        if name not in RECORDS:
            assert name in known
            assert labels <= known[name], name
    assert promql.grouped_by(rule["expr"]) <= set().union(*known.values())


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_leads_to_its_section(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} <= set(alert["annotations"])
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    section = SECTIONS[name]
    assert f"Severity: {alert['labels']['severity']}." in section
    for part in ("What it means", "Who is hurt", "Look first at", "What to do", "When it is harmless"):
        assert part in section
    assert f"[{name}](#{name.lower()})" in RUNBOOKS
    assert f"| {name} |" in (DOCKER.parents[1] / "docs" / "monitoring.md").read_text()


def test_every_section_belongs_to_an_alert():
    assert set(SECTIONS) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_firing_and_silent(name):
    expected = [
        bool(check["exp_samples"])
        for path in TESTS
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case["promql_expr_test"]
        if f'alertname="{name}"' in check["expr"]
    ]
    assert set(expected) == {True, False}
