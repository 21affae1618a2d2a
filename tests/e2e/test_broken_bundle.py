"""A bundle that is not what was exported: the service starts, is not ready, says why, and gives no score."""

import shutil
from pathlib import Path

import onnx
import pytest

from liveness_core.bundle import Manifest, default_bundle_path, save_bundle
from liveness_core.bundle.load import read_manifest
from support.pictures import astronaut, encoded
from support.server import running_server


def flip_a_byte(bundle: Path) -> str:
    path = bundle / read_manifest(bundle).variants[0].encoder.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name


def remove_a_file(bundle: Path) -> str:
    (bundle / "classifier.onnx").unlink()
    return "classifier.onnx"


def rename_a_tensor(bundle: Path) -> str:
    """With right hashes: as a faulty exporter would write it."""
    manifest = read_manifest(bundle)
    files = {name: (bundle / name).read_bytes() for name in manifest.files}
    model = onnx.load_from_string(files["classifier.onnx"])
    for node in model.graph.node:
        node.input[:] = ["feature" if name == "embedding" else name for name in node.input]
    model.graph.input[0].name = "feature"
    files["classifier.onnx"] = model.SerializeToString()
    save_bundle(bundle, manifest, files)
    return "classifier.onnx"


def lower_a_threshold(bundle: Path) -> str:
    manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
    point = manifest.operating_points[manifest.default_operating_point]
    text = (bundle / "bundle.json").read_text()
    assert f'"threshold": {point.threshold}' in text
    (bundle / "bundle.json").write_text(text.replace(f'"threshold": {point.threshold}', '"threshold": 0.0'))
    return "bundle.json"


@pytest.mark.parametrize("damage", [flip_a_byte, remove_a_file, rename_a_tensor, lower_a_threshold])
def test_a_damaged_bundle_is_named_and_never_scores(tmp_path, damage):
    bundle = tmp_path / "bundle"
    shutil.copytree(default_bundle_path(), bundle)
    file = damage(bundle)

    with running_server(tmp_path, bundle_path=str(bundle)) as server, server.client() as client:
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        problem = ready.json()
        assert problem["code"] == "model_unavailable"
        assert problem["file"] == file
        assert problem["reason"]
        assert file in problem["detail"]
        answer = client.post("/v1/liveness", files={"image": ("a.jpg", encoded(astronaut()))})
        assert answer.status_code == 503
        assert answer.json()["file"] == file
        assert "score" not in answer.json()
