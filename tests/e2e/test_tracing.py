"""Spans of a real service, sent to a real collector over a real socket."""

import os
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from support.collector import attributes, collecting
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

PHOTO = encoded(astronaut())
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = None
from liveness_service.cli import app
app(["serve"])
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """With a small bundle: which one scores makes no difference to spans."""
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path)
    return {"tracing": "true", "bundle_path": str(path), "workers": "1"}


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)

    def given(url, **variables):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_{name}", value)

    return given


def test_what_was_recorded_is_sent_before_the_service_stops(tmp_path, environment, settings):
    with collecting() as collector:
        environment(collector.url, EXPORTER_OTLP_HEADERS="authorization=Bearer%20of-the-collector")
        with running_server(tmp_path, **settings) as server, server.client() as client:
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            answer = client.post("/v1/liveness", content=PHOTO, headers=headers)
            assert answer.status_code == 200
            client.get("/health/ready")
            client.get("/metrics")
            assert server.stop() == 0
            [line] = [line for line in server.log() if line["event"] == "request"]
        assert collector.headers["authorization"] == "Bearer of-the-collector"
        assert collector.resource["service.name"] == "face-liveness"
        assert collector.resource["service.version"]
        [root] = [span for span in collector.spans if span.name == "POST /v1/liveness"]
        assert root.trace_id.hex() == TRACE == line["trace_id"]
        assert root.parent_span_id.hex() == "00f067aa0ba902b7"
        assert root.span_id.hex() == line["span_id"] == answer.headers["traceparent"].split("-")[2]
        assert attributes(root)["liveness.verdict"] == answer.json()["verdict"]
        assert attributes(root)["http.response.status_code"] == 200
        stages = {span.name for span in collector.spans if span is not root}
        assert stages == {"upload", "decode", "detect", "align", "score", "queue", "infer"}
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


@pytest.mark.slow
def test_the_standard_variables_name_the_service_and_choose_the_share(tmp_path, environment, settings):
    settings = settings | {"workers": "0"}
    with collecting() as collector:
        environment(
            collector.url,
            SERVICE_NAME="door",
            RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            TRACES_SAMPLER="traceidratio",
            TRACES_SAMPLER_ARG="0",
            BSP_SCHEDULE_DELAY="100",
        )
        with running_server(tmp_path, **settings) as server, server.client() as client:
            assert client.post("/v1/liveness", content=PHOTO).headers["traceparent"].endswith("-00")
            server.stop()
        assert collector.posts == 0
        environment(collector.url, TRACES_SAMPLER_ARG="1")
        with running_server(tmp_path, **settings) as server, server.client() as client:
            client.post("/v1/liveness", content=PHOTO)
            deadline = time.monotonic() + 20
            while not collector.spans and time.monotonic() < deadline:
                time.sleep(0.05)
            assert collector.spans  # without a stop
        assert collector.resource["service.name"] == "door"
        assert collector.resource["deployment.environment.name"] == "test"


@pytest.mark.slow
@pytest.mark.parametrize("away", ["refuses connections", "never answers", "answers 503"])
def test_a_collector_that_is_away_costs_one_line_and_no_answer(tmp_path, environment, settings, away):
    import socket

    with socket.socket() as silent, collecting() as collector:
        silent.bind(("127.0.0.1", 0))
        if away == "never answers":
            silent.listen()
        collector.status = 503
        port = silent.getsockname()[1]
        url = collector.url if away == "answers 503" else f"http://127.0.0.1:{port}"
        environment(url, BSP_SCHEDULE_DELAY="100", EXPORTER_OTLP_TIMEOUT="1")
        settings = settings | {"workers": "0", "shutdown_grace_ms": "4000"}
        with running_server(tmp_path, **settings) as server, server.client() as client:
            deadline = time.monotonic() + 20
            while not any(line["event"] == "spans_not_sent" for line in server.log()):
                assert time.monotonic() < deadline
                began = time.perf_counter()
                assert client.post("/v1/liveness", content=PHOTO).status_code == 200
                assert time.perf_counter() - began < 5
            for _ in range(5):
                assert client.post("/v1/liveness", content=PHOTO).status_code == 200
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 4 + 4  # the grace for spans, and what a stop takes by itself
            told = [line for line in server.log() if line["level"] != "info"]
            assert [line["event"] for line in told][:1] == ["spans_not_sent"]
            assert {line["event"] for line in told[1:]} <= {"spans_lost"}
            assert "Traceback" not in server.log_file.read_text()


def test_without_the_extra_it_says_what_to_install_and_does_not_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.setattr("liveness_service.cli_serve.run", lambda *_: pytest.fail("it went on"))
    done = CliRunner().invoke(app, ["serve"], env={"LIVENESS_TRACING": "true"})
    assert done.exit_code == 2
    assert "pip install 'face-liveness[service,tracing]'" in done.stderr


@pytest.mark.slow
def test_so_it_is_in_a_process_without_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA],
        env=os.environ | {"LIVENESS_TRACING": "true"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'face-liveness[service,tracing]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_tracing_the_sdk_is_not_even_loaded():
    program = "import sys, liveness_service.app as a; a.create_app(); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"
