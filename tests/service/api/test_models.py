from liveness_core.bundle import Manifest


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
    assert model["detector_in_use"] == "mtcnn"


def test_another_detector_than_the_bundles_shows(serve, live_bundle, detectors_dir):
    [weights] = detectors_dir.glob("*yunet*.onnx")
    with serve(bundle_path=live_bundle, detector="yunet", detector_model=str(weights)) as client:
        [model] = client.get("/v1/models").json()["models"]
    assert (model["detector"]["name"], model["detector_in_use"]) == ("mtcnn", "yunet")
