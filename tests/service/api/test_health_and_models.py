import pytest

from liveness_core.bundle import Manifest
from support.faulty_bundles import SOME_FAULTS


def test_a_service_with_a_model_is_live_and_ready(client):
    assert client.get("/health/live").json() == {"status": "live"}
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "model": "tiny", "version": "1"}


@pytest.mark.parametrize("fault", SOME_FAULTS, indirect=True)
def test_a_service_without_a_model_is_live_and_says_why_it_is_not_ready(serve, problem_of, fault):
    with serve(**fault.settings) as client:
        assert client.get("/health/live").json() == {"status": "live"}
        for path in ("/health/ready", "/v1/models"):
            problem = problem_of(client.get(path), 503, "model_unavailable")
            assert problem["file"] == fault.file
            assert fault.reason in problem["reason"]
            assert problem["file"] in problem["detail"]
            assert problem["reason"] in problem["detail"]
        assert client.get("/metrics").status_code == 200
        assert "liveness_model_info{" not in client.get("/metrics").text
        assert client.get("/docs").status_code == 200


def test_metrics_come_in_the_format_that_is_asked_for(client):
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_the_model_is_described_as_its_manifest_does(client, live_bundle):
    manifest = Manifest.model_validate_json((live_bundle / "bundle.json").read_text())
    [model] = client.get("/v1/models").json()["models"]
    assert (model["name"], model["version"], model["precision"], model["provider"]) == ("tiny", "1", "fp32", "cpu")
    assert model["default_operating_point"] == "eer"
    assert {name: point["threshold"] for name, point in model["operating_points"].items()} == {
        "eer": 0.5,
        "strict": 0.9999,
    }
    assert all(point["chosen_on"] for point in model["operating_points"].values())
    for field in ("preprocess", "detector", "quality_gates", "provenance"):
        assert model[field] == getattr(manifest, field).model_dump(mode="json")
    assert model["metrics"] == {"test": {"auc": 0.5}}
    assert model["detector_in_use"] == "yunet_onet"


def test_another_detector_than_the_bundles_shows(serve, live_bundle, detectors_dir):
    [weights] = detectors_dir.glob("*yunet*.onnx")
    with serve(bundle_path=live_bundle, detector="yunet", detector_model=str(weights)) as client:
        [model] = client.get("/v1/models").json()["models"]
    assert (model["detector"]["name"], model["detector_in_use"]) == ("yunet_onet", "yunet")
