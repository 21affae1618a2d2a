"""Spans by the SDK's own exporter in memory; over a real socket they go in tests/e2e/test_tracing.py."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from liveness_service.app import create_app
from liveness_service.observability.logs import configure_logging
from liveness_service.observability.tracing import Tracing
from liveness_service.settings import Settings
from support.clips import person_clip
from support.pictures import encoded, two_faces
from support.requests import PHOTO, URL
from support.tiny_bundle import make_tiny_bundle
from support.traced import Traced

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{CALLER}-{flag}" for flag in ("01", "00"))
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]")
STAGES = ["align", "decode", "detect", "infer", "queue", "score", "upload"]


@pytest.fixture(scope="module")
def traced(client):
    """Start a traced app with these settings."""

    @contextmanager
    def started(**settings):
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        app = create_app(Settings(**settings), Tracing(provider.get_tracer("tests"), provider.shutdown))
        with type(client)(app) as started:
            yield Traced(started, exporter)

    return started


@pytest.fixture
def photos(traced, live_bundle):
    with traced(bundle_path=live_bundle) as started:
        yield started


@pytest.fixture(scope="module")
def traced_client(traced, live_bundle):
    """One for tests that look at answers only."""
    with traced(bundle_path=live_bundle) as started:
        yield started.client


def names(spans):
    return sorted(span.name for span in spans)


def test_a_photo_is_a_server_span_with_a_child_for_each_stage(photos):
    response, server, stages = photos.asked()
    assert server.name == "POST /v1/liveness"
    assert server.kind is SpanKind.SERVER
    assert server.status.status_code is StatusCode.UNSET
    wanted = {
        "http.request.method": "POST",
        "http.route": URL,
        "http.response.status_code": 200,
        "url.path": URL,
        "url.scheme": "http",
        "liveness.request_id": response.json()["request_id"],
        "liveness.verdict": "live",
        "liveness.reasons": (),
        "liveness.operating_point": "eer",
        "liveness.model": "tiny",
        "liveness.model_version": "1",
        "liveness.faces": 1,
        "liveness.score": response.json()["score"],
    }
    assert wanted.items() <= dict(server.attributes).items()
    assert names(stages) == STAGES
    by_name = {span.name: span for span in stages}
    for span in stages:
        above = by_name["score"] if span.name in ("queue", "infer") else server
        assert span.parent.span_id == above.context.span_id
        assert span.context.trace_id == server.context.trace_id
        assert above.start_time <= span.start_time <= span.end_time
        # Those of the batch are made of times that were measured by another clock. Between two looks at the clocks a
        # busy machine may do something else.
        assert span.end_time <= above.end_time + 50_000_000
    order = ["upload", "decode", "detect", "align", "queue", "infer"]
    assert sorted(order, key=lambda name: by_name[name].start_time) == order
    assert by_name["infer"].attributes["liveness.batch_size"] == 1
    assert by_name["upload"].attributes["liveness.upload_bytes"] == len(PHOTO)
    assert by_name["detect"].attributes["liveness.faces_found"] == 1


def test_stages_take_as_long_as_the_answer_says(photos):
    apart: dict[str, list[float]] = {}
    for _ in range(5):  # spans and answer look at their clocks one after the other: a busy machine may come in between
        response, _, stages = photos.asked()
        timings = response.json()["timings_ms"]
        for span in stages:
            if span.name in timings:
                took_ms = (span.end_time - span.start_time) / 1e6
                apart.setdefault(span.name, []).append(abs(took_ms - timings[span.name]))
    assert {"decode", "detect", "align", "queue", "infer"} <= set(apart)
    assert all(min(found) < 3 for found in apart.values()), apart


def test_a_picture_that_is_not_scored_has_no_stages_of_scoring(photos):
    _, server, stages = photos.asked(content=encoded(two_faces()))
    assert names(stages) == ["align", "decode", "detect", "upload"]
    assert server.attributes["liveness.reasons"] == ("multiple_faces",)
    assert "liveness.score" not in server.attributes


def test_a_heat_map_has_a_stage_of_its_own(photos):
    _, _, stages = photos.asked(URL + "?explain=true")
    assert names(stages) == sorted([*STAGES, "heatmap"])


def test_a_clients_fault_is_told_by_its_code_and_is_no_error_of_the_server(photos):
    _, server, stages = photos.asked(content=PHOTO[:1000])
    assert server.status.status_code is StatusCode.UNSET
    assert server.attributes["http.response.status_code"] == 400
    assert server.attributes["liveness.code"] == "unreadable_media"
    assert "error.type" not in server.attributes
    decode = next(span for span in stages if span.name == "decode")
    assert decode.attributes["error.type"] == "unreadable_media"
    assert decode.status.status_code is StatusCode.UNSET


def test_a_batch_that_fails_is_an_error_in_the_stage_where_it_failed(traced, fragile_bundle):
    with traced(bundle_path=fragile_bundle) as service:
        _, server, stages = service.asked()
    assert server.status.status_code is StatusCode.ERROR
    assert server.attributes["error.type"] == "scoring_failed"
    assert [span.name for span in stages if span.status.status_code is StatusCode.ERROR] == ["score"]


def test_a_failed_batch_is_logged_with_the_requests_that_were_in_it(traced, fragile_bundle, capsys):
    configure_logging(Settings(log_format="json"))
    with traced(bundle_path=fragile_bundle) as service:
        capsys.readouterr()
        service.asked(headers={"X-Request-ID": "look-for-me"})
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["request_ids"] for line in lines if line["event"] == "batch_failed"] == [["look-for-me"]]


def test_a_deadline_ends_the_stage_that_it_met(traced, live_bundle):
    with traced(bundle_path=live_bundle, deadline_ms=10) as service:
        response, server, _ = service.asked(content=encoded(two_faces().repeat(4, 0).repeat(4, 1)))
    assert response.status_code == 504
    assert server.attributes["error.type"] == "deadline_exceeded"
    assert server.status.status_code is StatusCode.ERROR


def test_requests_at_the_same_time_keep_their_spans_apart(photos):
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: photos.client.post(URL, content=PHOTO), range(6)))
    traces = {TRACEPARENT.fullmatch(answer.headers["traceparent"])[1] for answer in answers}
    assert len(traces) == 6
    assert len(photos.servers(6)) >= 6
    for trace in traces:
        spans = [span for span in photos.spans() if f"{span.context.trace_id:032x}" == trace]
        assert names(spans) == sorted([*STAGES, "POST /v1/liveness"])


def test_a_clip_has_the_stages_of_each_frame_below_its_decoding(traced, tmp_path):
    make_tiny_bundle(tmp_path / "clips", bias=3, gain=0.5, temporal=True)
    with traced(bundle_path=tmp_path / "clips") as service:
        _, server, stages = service.asked(URL + "/video", person_clip())
        assert server.name == "POST /v1/liveness/video"
        assert server.attributes["liveness.verdict"] == "live"
        frames = ["align", "detect"] * 8
        assert names(stages) == sorted([*frames, "decode", "infer", "queue", "score", "temporal", "upload"])
        decode = next(span for span in stages if span.name == "decode")
        detections = [span for span in stages if span.name == "detect"]
        assert {span.parent.span_id for span in detections} == {decode.context.span_id}
        assert len({span.attributes["liveness.frame"] for span in detections}) == 8
        assert decode.attributes["liveness.frames_looked_at"] == 8
        assert next(span for span in stages if span.name == "infer").attributes["liveness.batch_size"] == 8


def test_a_callers_trace_goes_on_and_its_decision_to_sample_is_kept(photos):
    response, server, _ = photos.asked(headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == CALLER
    assert server.parent.is_remote
    assert server.context.trace_state.get("vendor") == "1"
    assert response.headers["traceparent"] == f"00-{TRACE}-{server.context.span_id:016x}-01"

    before = len(photos.spans())
    response = photos.client.post(URL, content=PHOTO, headers={"traceparent": UNSAMPLED})
    assert len(photos.spans()) == before
    trace, span = TRACEPARENT.fullmatch(response.headers["traceparent"]).groups()
    assert trace == TRACE
    assert span != CALLER
    assert response.headers["traceparent"].endswith("-00")


def test_every_log_line_of_a_request_has_its_ids_those_of_threads_too(traced, live_bundle, capsys, monkeypatch):
    def detect(*_):
        import structlog

        structlog.get_logger("liveness_service.test").info("in_a_thread")
        return ()

    configure_logging(Settings(log_format="json"))
    with traced(bundle_path=live_bundle) as service:
        monkeypatch.setattr(type(service.client.app.state.service.model().detector), "detect", detect)
        capsys.readouterr()
        response, server, _ = service.asked()
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    lines = {line["event"]: line for line in lines if "request_id" in line}
    assert {"in_a_thread", "request"} <= set(lines)
    for line in (lines["in_a_thread"], lines["request"]):
        assert line["request_id"] == response.headers["x-request-id"]
        assert line["trace_id"] == f"{server.context.trace_id:032x}"
        assert line["span_id"] == f"{server.context.span_id:016x}"


def test_probes_and_metrics_make_no_spans(photos):
    for path in ("/health/live", "/health/ready", "/metrics"):
        photos.client.get(path, headers={"traceparent": SAMPLED})
    assert photos.spans() == []
    photos.client.get("/v1/models")
    assert names(photos.spans()) == ["GET /v1/models"]


def test_a_clients_words_name_no_span(photos):
    photos.client.get("/nowhere?key=hunter2")
    photos.client.request("HUNTER2", URL)
    assert [span.name for span in photos.spans()] == ["GET", "HTTP /v1/liveness"]
    assert photos.spans()[1].attributes["http.request.method"] == "_OTHER"


def test_nothing_of_the_picture_and_no_key_is_in_a_span(photos):
    secret = {"Authorization": "Bearer hunter2", "X-API-Key": "hunter2", "User-Agent": "hunter2", "Cookie": "hunter2"}
    photos.client.post(URL + "?operating_point=hunter2", content=PHOTO, headers=secret, files=None)
    photos.client.post(URL, files={"image": ("hunter2.png", PHOTO, "image/png")}, headers=secret)
    photos.client.post(URL, content=b"hunter2 in the body")
    text = " ".join(span.to_json() for span in photos.spans())
    assert len(photos.spans()) > 10
    assert "hunter2" not in text
    assert max(len(str(value)) for span in photos.spans() for value in span.attributes.values()) < 100


def test_a_fault_of_ours_is_named_by_its_type_and_not_by_its_words(traced, live_bundle, client):
    with traced(bundle_path=live_bundle) as service:

        @service.client.app.get("/fault")
        async def fault():
            raise RuntimeError("the password is hunter2")

        assert service.client.get("/fault").status_code == 500
        [span] = service.spans()
    assert span.attributes["error.type"] == "RuntimeError"
    assert span.status.status_code is StatusCode.ERROR
    assert "hunter2" not in span.to_json()


# --- tracing off ---


@pytest.mark.parametrize("given", [SAMPLED, UNSAMPLED, f"cc-{TRACE}-{CALLER}-01-what-the-future-will-add"])
def test_without_tracing_a_callers_trace_is_in_the_log_and_the_answer(client, capsys, given):
    configure_logging(Settings(log_format="json"))
    response = client.post(URL, content=b"hello", headers={"traceparent": given})
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"request"' in line]
    trace, span = TRACEPARENT.fullmatch(response.headers["traceparent"]).groups()
    assert line["trace_id"] == trace == TRACE
    assert line["span_id"] == span != CALLER
    assert response.headers["traceparent"].endswith("-00")  # nothing is recorded here


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["nonsense"],
        [f"00-{TRACE}-{CALLER}"],
        [f"00-{TRACE.upper()}-{CALLER}-01"],
        [f"ff-{TRACE}-{CALLER}-01"],
        [f"00-{'0' * 32}-{CALLER}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"{SAMPLED}-extra"],
        [f"cc-{TRACE}-{CALLER}-01-" + "x" * 10_000],
        [SAMPLED, SAMPLED],
        [f"00-{TRACE}-ü-01"],
    ],
    ids=lambda given: "|".join(given)[:40],
)
@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_a_malformed_traceparent_is_as_none(client, traced_client, capsys, given, on):
    configure_logging(Settings(log_format="json"))
    headers = [("traceparent", value.encode("latin-1")) for value in given]
    asked = traced_client if on else client
    found = [asked.get("/nowhere", headers=headers).headers["traceparent"] for _ in range(2)]
    traces = {TRACEPARENT.fullmatch(each)[1] for each in found}
    assert len(traces) == 2
    assert TRACE not in traces
    assert "opentelemetry" not in capsys.readouterr().err


def test_answers_of_every_kind_carry_a_traceparent(client):
    for response in (client.get("/health/live"), client.get("/docs"), client.post(URL, content=PHOTO)):
        assert TRACEPARENT.fullmatch(response.headers["traceparent"])
