import pytest
from pydantic import ValidationError

from liveness_core.bundle import Manifest
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def changed(manifest, **changes):
    return Manifest.model_validate({**manifest.model_dump(), **changes})


def test_json_and_back_is_the_same(manifest):
    again = Manifest.model_validate_json(manifest.model_dump_json())
    assert again == manifest
    assert again.digest() == manifest.manifest_sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1.0001},
        {"name": "other"},
        {"metrics": {"test": {"auc": 0.6}}},
        {"quality_gates": {"min_face_px": 39}},
        {"detector": {"name": "mtcnn", "min_confidence": 0.8}},
    ],
)
def test_digest_depends_on_every_field(manifest, changes):
    assert changed(manifest, **changes).digest() != manifest.digest()


def test_digest_does_not_depend_on_itself(manifest):
    assert manifest.model_copy(update={"manifest_sha256": "0" * 64}).digest() == manifest.digest()


def test_variant_is_the_first_unless_asked_for(manifest):
    first = manifest.variants[0].model_dump()
    both = changed(manifest, variants=[{**first, "precision": "int8"}, first])
    assert both.variant(None).precision == "int8"
    assert both.variant("fp32").precision == "fp32"
    assert both.variant("fp16") is None


@pytest.mark.parametrize("name", ["../escape.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", "a\\b.onnx", "a\n", ""])
def test_file_names_that_are_paths_are_refused(manifest, name):
    digest = manifest.files["encoder.onnx"]
    with pytest.raises(ValidationError, match="files"):
        changed(manifest, files={**manifest.files, name: digest})
    with pytest.raises(ValidationError, match="golden"):
        changed(manifest, golden=name)
    with pytest.raises(ValidationError, match=r"classifier\.file"):
        changed(manifest, classifier={**manifest.classifier.model_dump(), "file": name})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"default_operating_point": "nobody"}, "nobody.*not an operating point"),
        ({"files": {"golden.npz": "0" * 64}}, r"no hash for classifier\.onnx, encoder\.onnx"),
        ({"files": {}}, "no hash for"),
        ({"golden": "other.npz"}, r"no hash for other\.npz"),
        ({"variants": []}, "variants"),
        ({"temperature": 0}, "temperature"),
        ({"unknown": 1}, "unknown"),
        ({"operating_points": {}}, "operating_points"),
        ({"name": "with space"}, "name"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(manifest, changes, said):
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        changed(manifest, **changes)


def test_precision_twice_is_refused(manifest):
    first = manifest.variants[0].model_dump()
    with pytest.raises(ValidationError, match="precision is there twice"):
        changed(manifest, variants=[first, first])


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 1.1), ("threshold", -0.1), ("threshold", float("nan")), ("apcer", 2), ("bpcer", -1)],
)
def test_operating_point_out_of_range_is_refused(manifest, field, value):
    points = manifest.model_dump()["operating_points"]
    with pytest.raises(ValidationError, match=field):
        changed(manifest, operating_points={**points, "eer": {**points["eer"], field: value}})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_that_json_cannot_hold_are_refused_before_they_are_written(manifest, value):
    # JSON would get null for them, and the bundle could not be read again.
    with pytest.raises(ValidationError, match="finite"):
        changed(manifest, metrics={"test": {"auc": value}})
    with pytest.raises(ValidationError):
        changed(manifest, temperature=value)
