import pytest
from prometheus_client.parser import text_string_to_metric_families

from liveness_core.bundle.manifest import Calibration, LabelledScores, Manifest, ReferenceScores, ScoreDistribution
from liveness_service.observability.metrics import Metrics
from support.pictures import encoded, head_and_shoulders, no_face
from support.tiny_bundle import make_tiny_bundle

URL = "/v1/liveness"
PHOTO = encoded(head_and_shoulders(), "PNG")
# The contract of design.md, and what running in production added to it.
NAMES = {
    "liveness_requests": ("counter", {"endpoint", "status"}),
    "liveness_verdicts": ("counter", {"endpoint", "verdict"}),
    "liveness_score": ("histogram", {"endpoint"}),
    "liveness_request_seconds": ("histogram", {"endpoint"}),
    "liveness_stage_seconds": ("histogram", {"stage"}),
    "liveness_batch_size": ("histogram", set()),
    "liveness_queue_depth": ("gauge", set()),
    "liveness_rejected": ("counter", {"reason"}),
    "liveness_model_info": ("gauge", {"name", "version", "precision", "provider", "role"}),
    "liveness_provider_info": ("gauge", {"role", "network", "provider"}),
    "liveness_inflight_requests": ("gauge", set()),
    "liveness_uploads": ("gauge", set()),
    "liveness_held_bytes": ("gauge", set()),
    "liveness_connections": ("gauge", set()),
    "liveness_ready": ("gauge", set()),
    "liveness_audit_records": ("counter", set()),
    "liveness_audit_failures": ("counter", set()),
    "liveness_session_store_failures": ("counter", set()),
}
# What only a model with a role, a key or a GPU gives samples of.
DECLARED = {
    "liveness_sessions": ("counter", ("kind", "event")),
    "liveness_provider_failures": ("counter", ("provider", "goes_on_with")),
    "liveness_connections_closed": ("counter", ("reason",)),
    "liveness_undetermined": ("counter", ("endpoint", "reason")),
    "liveness_model_verdicts": ("counter", ("name", "version", "role", "endpoint", "verdict")),
    "liveness_model_score": ("histogram", ("name", "version", "role", "endpoint")),
    "liveness_model_reference_score": ("gauge", ("name", "version", "kind", "le")),
    "liveness_point_score": ("histogram", ("name", "version", "operating_point", "endpoint")),
    "liveness_point_reference_score": ("gauge", ("name", "version", "operating_point", "endpoint", "le")),
    "liveness_point_reference_people": ("gauge", ("name", "version", "operating_point", "endpoint")),
    "liveness_model_switches": ("counter", ("action", "outcome")),
    "liveness_shadow_agreement": ("counter", ("name", "version", "verdict", "shadow_verdict")),
    "liveness_shadow_skipped": ("counter", ("reason",)),
    "liveness_key_requests": ("counter", ("key", "endpoint", "status")),
    "liveness_key_verdicts": ("counter", ("key", "endpoint", "verdict")),
    "liveness_gpu_memory_bytes": ("gauge", ("kind",)),
    "liveness_workers": ("gauge", ("pool",)),
    "liveness_worker_ends": ("counter", ("pool", "reason")),
}


def scraped(client):
    return {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}


def values(client, name, *labels):
    """Values of the samples of this name by these labels; `_created` and the rest left out."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in scraped(client).values()
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def fresh(serve, live_bundle):
    with serve(bundle_path=live_bundle) as client:
        yield client


def test_every_metric_of_the_contract_is_there_with_its_labels(fresh):
    fresh.post(URL, content=PHOTO)
    fresh.post(URL, content=b"hello")
    families = scraped(fresh)
    for name, (kind, labels) in NAMES.items():
        family = families[name]
        assert family.type == kind
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels, name
    for name, (kind, _) in DECLARED.items():
        assert families[name].type == kind


def test_metrics_without_samples_yet_have_the_labels_of_the_contract():
    made = {metric._name: metric._labelnames for metric in vars(Metrics()).values() if hasattr(metric, "_labelnames")}
    assert {name: made[name] for name in DECLARED if name in made} == {
        name: labels for name, (_, labels) in DECLARED.items() if name != "liveness_gpu_memory_bytes"
    }


def test_ready_is_what_the_probe_says(fresh, serve, tmp_path):
    assert values(fresh, "liveness_ready") == {(): 1}
    with serve(bundle_path=tmp_path / "nowhere") as broken:
        assert broken.get("/health/ready").status_code == 503
        assert values(broken, "liveness_ready") == {(): 0}


def test_known_requests_give_known_numbers(fresh):
    for _ in range(3):
        fresh.post(URL, content=PHOTO)
    fresh.post(URL, content=encoded(no_face()))
    fresh.post(URL, content=PHOTO[:1000])
    fresh.post(URL, content=b"hello")
    fresh.post(URL + "?faces=both", content=PHOTO)
    fresh.get("/health/live")

    requests = values(fresh, "liveness_requests_total", "endpoint", "status")
    assert {key: count for key, count in requests.items() if key[0] != "/metrics"} == {
        (URL, "200"): 4,
        (URL, "400"): 1,
        (URL, "415"): 1,
        (URL, "422"): 1,
        ("/health/live", "200"): 1,
    }
    assert values(fresh, "liveness_verdicts_total", "endpoint", "verdict") == {
        (URL, "live"): 3,
        (URL, "undetermined"): 1,
    }
    assert values(fresh, "liveness_undetermined_total", "endpoint", "reason") == {(URL, "no_face"): 1}
    assert values(fresh, "liveness_rejected_total", "reason") == {
        ("unreadable_media",): 1,
        ("unsupported_media",): 1,
        ("invalid_parameter",): 1,
    }
    assert values(fresh, "liveness_request_seconds_count", "endpoint")[URL,] == 7
    assert values(fresh, "liveness_score_count", "endpoint") == {(URL,): 3}
    assert values(fresh, "liveness_score_sum", "endpoint")[URL,] == pytest.approx(3 * 0.994, abs=0.02)
    assert values(fresh, "liveness_score_bucket", "le")["0.95",] == 0
    assert values(fresh, "liveness_batch_size_count") == {(): 3}
    assert values(fresh, "liveness_batch_size_sum") == {(): 3}
    stages = values(fresh, "liveness_stage_seconds_count", "stage")
    assert stages == {("decode",): 4, ("detect",): 4, ("align",): 4, ("queue",): 3, ("infer",): 3}
    took = values(fresh, "liveness_stage_seconds_sum", "stage")
    assert 0 < sum(took.values()) < values(fresh, "liveness_request_seconds_sum", "endpoint")[URL,]
    assert values(fresh, "liveness_queue_depth") == {(): 0}
    assert values(fresh, "liveness_inflight_requests") == {(): 0}
    assert values(fresh, "liveness_model_info", "name", "version", "precision", "provider", "role") == {
        ("tiny", "1", "fp32", "cpu", "active"): 1
    }


def test_a_clients_words_make_no_labels(fresh):
    for number in range(5):
        fresh.get(f"/path-{number}")
        fresh.get(f"/docs/assets/{number}")
        fresh.request(f"METHOD{number}", URL)
        fresh.post(f"{URL}?operating_point=point-{number}", content=PHOTO)
        fresh.post(f"{URL}?word-{number}=1", content=PHOTO)
    requests = values(fresh, "liveness_requests_total", "endpoint", "status")
    assert requests["unmatched", "404"] == 10
    assert requests[URL, "405"] == 5
    assert requests[URL, "422"] == 10
    assert {endpoint for endpoint, _ in requests} == {"unmatched", URL}
    assert values(fresh, "liveness_rejected_total", "reason") == {("invalid_parameter",): 10}


def test_two_services_in_one_process_count_for_themselves(serve, live_bundle, spoof_bundle):
    with serve(bundle_path=live_bundle) as one, serve(bundle_path=spoof_bundle) as other:
        one.post(URL, content=PHOTO)
        other.post(URL, content=PHOTO)
        other.post(URL, content=PHOTO)
        assert values(one, "liveness_verdicts_total", "verdict") == {("live",): 1}
        assert values(other, "liveness_verdicts_total", "verdict") == {("spoof",): 2}


def test_a_status_that_no_one_assigned_is_no_label_of_its_own():
    metrics = Metrics()
    for status in (200, 499, 299, 777):
        metrics.answered("/x", status, 0.1)
    count = metrics.registry.get_sample_value
    assert count("liveness_requests_total", {"endpoint": "/x", "status": "200"}) == 1
    assert count("liveness_requests_total", {"endpoint": "/x", "status": "499"}) == 1
    assert count("liveness_requests_total", {"endpoint": "/x", "status": "other"}) == 2


def test_the_queues_depth_is_asked_for_when_scraped():
    metrics = Metrics()
    depth = [3, 7]
    metrics.watch_queue(lambda: depth.pop())
    assert [metrics.registry.get_sample_value("liveness_queue_depth") for _ in range(2)] == [7, 3]


PHOTO_SCORES = LabelledScores(
    live=ScoreDistribution.of([0.97, 0.99, 0.7, 0.2]), spoof=ScoreDistribution.of([0.01, 0.02, 0.3, 0.9])
)
CLIP_SCORES = LabelledScores(live=ScoreDistribution.of([0.99]), spoof=ScoreDistribution.of([0.4]))


def published(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = next(each for each in families if each.name == "liveness_model_reference_score").samples
    return {
        (sample.labels["kind"], sample.labels["le"]): sample.value
        for sample in samples
        if (sample.labels["name"], sample.labels["version"]) == ("tiny", "1")
    }


def edges_of_scores(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = next(each for each in families if each.name == "liveness_score").samples
    return {sample.labels["le"] for sample in samples if "le" in sample.labels}


def test_the_reference_has_the_buckets_of_production(serve, tmp_path):
    make_tiny_bundle(tmp_path / "b", bias=5, reference_scores=ReferenceScores(photo=PHOTO_SCORES))
    with serve(bundle_path=tmp_path / "b") as client:
        found = published(client)
        client.app.state.service.metrics.score.labels("/v1/liveness").observe(0.5)
        assert {le for _, le in found} == edges_of_scores(client)
    assert {kind for kind, _ in found} == {"live", "spoof"}
    assert (found["spoof", "0.05"], found["spoof", "0.3"], found["spoof", "+Inf"]) == (0.5, 0.75, 1)
    assert (found["live", "0.15"], found["live", "0.2"], found["live", "0.95"]) == (0, 0.25, 0.5)


def test_clips_have_a_reference_of_their_own(serve, tmp_path):
    reference = ReferenceScores(photo=PHOTO_SCORES, clip=CLIP_SCORES)
    make_tiny_bundle(tmp_path / "b", bias=5, temporal=True, reference_scores=reference)
    with serve(bundle_path=tmp_path / "b") as client:
        found = published(client)
    assert {kind for kind, _ in found} == {"live", "spoof", "clip_live", "clip_spoof"}
    assert (found["clip_spoof", "0.35"], found["clip_spoof", "0.4"]) == (0, 1)


def test_a_bundle_without_one_has_none(client):
    assert published(client) == {}


def calibrated(path, people):
    """A bundle whose point `strict` was calibrated on live scores, of photos and of clips."""
    reference = ScoreDistribution.of([0.9, 0.97, 0.99, 0.6])
    make_tiny_bundle(path, bias=5, temporal=True)
    manifest = Manifest.model_validate_json((path / "bundle.json").read_bytes())
    point = manifest.operating_points["strict"].model_copy(
        update={"threshold": 0.7, "reference_scores": reference, "calibration": calibration(people)}
    )
    points = {**manifest.operating_points, "strict": point}
    changed = manifest.model_copy(update={"operating_points": points}).sealed()
    (path / "bundle.json").write_text(changed.model_dump_json())


def calibration(people):
    return Calibration(
        method="live_only",
        rule="5 % of live people are refused",
        data_sha256="0" * 64,
        created_at="2026-11-27T12:00:00Z",
        live_people=people,
        live_files=40,
        bpcer_low=0.01,
        bpcer_high=0.2,
        apcer_of="reference_scores",
    )


def test_scores_of_a_calibrated_point_are_counted_beside_the_people_it_was_calibrated_on(serve, tmp_path):
    calibrated(tmp_path / "b", people=20)
    labels = ("operating_point", "endpoint")
    with serve(bundle_path=tmp_path / "b") as client:
        for point in ("strict", "strict", "eer"):
            assert client.post(URL, content=PHOTO, params={"operating_point": point}).json()["verdict"] == "live"
        client.post(URL, content=encoded(no_face()), params={"operating_point": "strict"})
        # Points that were not calibrated have no series: they are the same on every camera.
        assert values(client, "liveness_point_score_count", *labels) == {("strict", URL): 2}
        assert values(client, "liveness_point_reference_people", *labels) == {("strict", URL): 20}
        reference = values(client, "liveness_point_reference_score", "le")
        assert {le for (le,) in reference} == edges_of_scores(client)
        assert (reference["0.55",], reference["0.6",], reference["0.95",], reference["+Inf",]) == (0, 0.25, 0.5, 1)


def test_a_bundle_that_was_not_calibrated_adds_no_series(client):
    client.post(URL, content=PHOTO)
    assert values(client, "liveness_point_score_count", "operating_point") == {}
    assert values(client, "liveness_point_reference_score", "le") == {}
