"""Prometheus: rules and alerts are valid and documented, and its numbers are those that a client saw."""

import random
import re
import runpy
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support.clips import clip, nobody, person_clip
from support.pictures import astronaut, encoded, no_face
from support.prometheus import DOCKER, Prometheus, command, config_for, exported, grouped_by, running_prometheus, used
from support.requests import as_form
from support.server import Server, running_server
from support.tiny_bundle import make_tiny_bundle

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


LONG = {"decisions", "budgets", "operations", "slow-burn"}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([command("promtool"), *arguments], capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid(tmp_path):
    promtool("check", "config", config_for(tmp_path, "liveness:8000"))


def test_the_rules_are_valid():
    promtool("check", "rules", *sorted((DOCKER / "rules").glob("*.yml")))


@pytest.mark.parametrize(
    "path",
    # Weeks of samples take promtool many seconds.
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG else [], id=path.stem) for path in TESTS],
)
def test_alerts_fire_when_they_should_and_only_then(path):
    promtool("test", "rules", path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_what_the_service_exports(rule):
    known = exported()
    names = list(used(rule["expr"]))
    assert names
    for name, labels in names:
        if name not in RECORDS:
            assert name in known
            assert labels <= known[name], name
    assert grouped_by(rule["expr"]) <= set().union(*known.values())


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


@cache
def cases() -> list[dict[str, Any]]:
    return [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_firing_and_silent(name):
    expected = [
        bool(check["exp_samples"])
        for case in cases()
        for check in case["promql_expr_test"]
        if f'alertname="{name}"' in check["expr"]
    ]
    assert set(expected) == {True, False}


def test_the_documented_power_is_what_the_command_computes_of_the_alerts_own_limits():
    module = runpy.run_path(str(DOCKER.parents[1] / "benchmarks/drift_power.py"))
    assert module["rule"]() == (0.1, 1.6)
    assert module["table"]() in (DOCKER.parents[1] / "docs/monitoring.md").read_text()


PHOTOS, CLIPS = "/v1/liveness", "/v1/liveness/video"
ENDPOINTS = {PHOTOS, CLIPS, "/health/live", "/health/ready", "/v1/models"}
# The head alone: how many requests there are is tested here, not how long a face is looked for.
HEAD = astronaut()[:256, 96:352]
PHOTO, DARKER = encoded(HEAD, "PNG"), encoded((HEAD * 0.6).astype(np.uint8), "PNG")
UNROUTED = {"not_found", "method_not_allowed"}
"""Told by the status alone; the others are counted as refused by their code."""


def mixed_requests():
    """200 of them, in an order that is always the same."""
    blurred = encoded(np.full((400, 400, 3), 90, np.uint8), "PNG")
    kinds = [
        (40, ("POST", PHOTOS, {"content": PHOTO})),
        (30, ("POST", PHOTOS, as_form(DARKER))),
        (15, ("POST", PHOTOS, {"content": encoded(no_face())})),
        (10, ("POST", PHOTOS, {"content": encoded(np.concatenate([HEAD, HEAD], axis=1))})),
        (5, ("POST", PHOTOS, {"content": blurred})),
        (10, ("POST", PHOTOS, {"content": encoded(HEAD)[:5_000]})),
        (10, ("POST", PHOTOS, {"content": b"Dear service,"})),
        (5, ("POST", PHOTOS, {"content": b""})),
        (5, ("POST", PHOTOS, {"content": PHOTO, "params": {"faces": "both"}})),
        (5, ("POST", PHOTOS, {"content": PHOTO, "params": {"operating_point": "none"}})),
        (5, ("POST", PHOTOS, {"content": PHOTO, "params": {"operating_point": "strict"}})),
        (10, ("POST", CLIPS, {"content": person_clip()})),
        (5, ("POST", CLIPS, {"content": clip(nobody)})),
        (5, ("POST", CLIPS, {"content": person_clip()[:3000]})),
        (10, ("GET", "/nowhere", {})),
        (10, ("GET", PHOTOS, {})),
        (5, ("GET", "/v1/models", {})),
        (10, ("GET", "/health/live", {})),
        (5, ("GET", "/health/ready", {})),
    ]
    requests = [request for count, request in kinds for _ in range(count)]
    random.Random(0).shuffle(requests)
    assert len(requests) == 200
    return requests


class Seen:
    """What the client saw, counted as the service should."""

    def __init__(self):
        self.requests, self.verdicts, self.reasons, self.rejected, self.scores = (Counter() for _ in range(5))

    def add(self, path, answer):
        endpoint = path if path in ENDPOINTS else "unmatched"
        self.requests[endpoint, str(answer.status_code)] += 1
        content = answer.json()
        if answer.status_code >= 400:
            if content["code"] not in UNROUTED:
                self.rejected[content["code"],] += 1
        elif path in (PHOTOS, CLIPS):
            self.verdicts[endpoint, content["verdict"]] += 1
            self.reasons.update((endpoint, reason) for reason in content["reasons"])
            self.scores[endpoint,] += content["score"] is not None


def send(server: Server) -> Seen:
    seen, requests = Seen(), mixed_requests()
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda request: client.request(request[0], request[1], **request[2]), requests)
        for (_, path, _), answer in zip(requests, answers, strict=True):
            seen.add(path, answer)
    return seen


def wait_for(condition, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)


def after_the_next_scrape(prometheus: Prometheus) -> None:
    """Return once a scrape that began after now can be asked for."""
    now = time.time()
    wait_for(lambda: prometheus.values("timestamp(liveness_ready)", "job").get(("liveness",), 0) > now + 1)


@pytest.mark.slow  # tests/service/observability counts too, without Prometheus
@pytest.mark.timeout(600)
def test_after_200_mixed_requests_prometheus_has_the_clients_counts(tmp_path):
    command("prometheus")
    make_tiny_bundle(tmp_path / "bundle", bias=0, gain=4, temporal=True)
    with (
        running_server(tmp_path, bundle_path=str(tmp_path / "bundle"), workers="1") as server,
        running_prometheus(tmp_path, server.url.removeprefix("http://")) as prometheus,
    ):
        # The service's start asks /health/live too, and counts it: what was before is taken off.
        after_the_next_scrape(prometheus)
        others = '{endpoint!="/metrics"}'
        before = prometheus.values(f"liveness_requests_total{others}", "endpoint", "status")
        seen = send(server)
        after_the_next_scrape(prometheus)

        requests = Counter(prometheus.values(f"liveness_requests_total{others}", "endpoint", "status"))
        requests.subtract(before)
        assert +requests == seen.requests
        assert sum(seen.requests.values()) == 200
        verdicts = prometheus.values("liveness_verdicts_total", "endpoint", "verdict")
        assert verdicts == seen.verdicts
        assert {verdict for _, verdict in verdicts} == {"live", "spoof", "undetermined"}
        assert prometheus.values("liveness_undetermined_total", "endpoint", "reason") == seen.reasons
        assert prometheus.values("liveness_rejected_total", "reason") == seen.rejected
        assert prometheus.values("liveness_score_count", "endpoint") == +seen.scores
        timed = prometheus.values("liveness_verdict_seconds_count", "endpoint")
        assert timed == prometheus.values("sum by (endpoint) (liveness_verdicts_total)", "endpoint")
        assert prometheus.values("liveness_inflight_requests / liveness_inflight_limit") == {(): 0}

        wait_for(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
        assert {rule["name"]: rule["lastError"] for rule in prometheus.rules() if rule["health"] != "ok"} == {}
        ratio = "endpoint:liveness_request_errors:ratio_rate1h"
        wait_for(lambda: prometheus.values(ratio, "endpoint").get((PHOTOS,)) == 0)
        assert prometheus.values(ratio, "endpoint")[PHOTOS,] == 0
