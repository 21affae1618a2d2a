from prometheus_client.parser import text_string_to_metric_families

from liveness_core.bundle.manifest import LabelledScores, ReferenceScores, ScoreDistribution
from support.tiny_bundle import make_tiny_bundle

PHOTO = LabelledScores(
    live=ScoreDistribution.of([0.97, 0.99, 0.7, 0.2]), spoof=ScoreDistribution.of([0.01, 0.02, 0.3, 0.9])
)
CLIP = LabelledScores(live=ScoreDistribution.of([0.99]), spoof=ScoreDistribution.of([0.4]))


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
    make_tiny_bundle(tmp_path / "b", bias=5, reference_scores=ReferenceScores(photo=PHOTO))
    with serve(bundle_path=tmp_path / "b") as client:
        found = published(client)
        client.app.state.service.metrics.score.labels("/v1/liveness").observe(0.5)
        assert {le for _, le in found} == edges_of_scores(client)
    assert {kind for kind, _ in found} == {"live", "spoof"}
    assert (found["spoof", "0.05"], found["spoof", "0.3"], found["spoof", "+Inf"]) == (0.5, 0.75, 1)
    assert (found["live", "0.15"], found["live", "0.2"], found["live", "0.95"]) == (0, 0.25, 0.5)


def test_clips_have_a_reference_of_their_own(serve, tmp_path):
    reference = ReferenceScores(photo=PHOTO, clip=CLIP)
    make_tiny_bundle(tmp_path / "b", bias=5, temporal=True, reference_scores=reference)
    with serve(bundle_path=tmp_path / "b") as client:
        found = published(client)
    assert {kind for kind, _ in found} == {"live", "spoof", "clip_live", "clip_spoof"}
    assert (found["clip_spoof", "0.35"], found["clip_spoof", "0.4"]) == (0, 1)


def test_a_bundle_without_one_has_none(client):
    assert published(client) == {}
