import functools
import json
import operator
from pathlib import Path

import pytest
from pydantic import ValidationError

from liveness_core.bundle import BundleError, Manifest, OperatingPoint, default_bundle_path
from liveness_core.bundle.load import parse_manifest, read_manifest
from liveness_core.bundle.manifest import SCORE_EDGES, LabelledScores, ReferenceScores, ScoreDistribution
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def with_head(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "clips", temporal=True)


def paths_of(value, path=()):
    """The keys that lead to every field and every entry of a JSON document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from paths_of(inner, (*path, key))


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


def test_manifest_written_before_there_were_temporal_heads_still_loads(tmp_path):
    """The manifest of version 1 of the default bundle, as it was released."""
    written = (Path(__file__).parent / "bundle_before_temporal_heads.json").read_text()
    assert "temporal" not in json.loads(written)
    (tmp_path / "bundle.json").write_text(written)
    manifest = read_manifest(tmp_path)
    assert (manifest.name, manifest.version, manifest.temporal) == ("default", "1", None)


@pytest.mark.parametrize("bundle", ["tiny", "clips", pytest.param("default", marks=pytest.mark.slow)])
def test_nothing_taken_out_of_a_saved_manifest_goes_unnoticed(manifest, with_head, bundle):
    whole = {
        "tiny": lambda: json.loads(manifest.model_dump_json()),
        "clips": lambda: json.loads(with_head.model_dump_json()),
        "default": lambda: json.loads((default_bundle_path() / "bundle.json").read_text()),
    }[bundle]()
    # A detector's own limit is filled in where it is missing, so leaving it out changes nothing.
    assert whole["detector"] == {"name": "yunet_onet", "min_confidence": 0.9}
    paths = [path for path in paths_of(whole) if path != ("detector", "min_confidence")]
    assert len(paths) > 80
    before = json.dumps(whole)
    for path in paths:
        parent = functools.reduce(operator.getitem, path[:-1], whole)
        taken = parent.pop(path[-1])
        with pytest.raises(BundleError):
            parse_manifest(json.dumps(whole).encode())
        if isinstance(parent, list):
            parent.insert(path[-1], taken)
        else:
            parent[path[-1]] = taken
    assert json.loads(before) == whole  # every round put back what it took out


def test_nothing_put_into_a_saved_manifest_goes_unnoticed(manifest, tmp_path):
    def refused(content):
        (tmp_path / "bundle.json").write_text(json.dumps(content))
        with pytest.raises(BundleError) as raised:
            read_manifest(tmp_path)
        return raised.value.reason

    old = json.loads((default_bundle_path() / "bundle.json").read_text())
    if "temporal" not in old:
        assert "changed after export" in refused(old | {"temporal": None})
    whole = json.loads(manifest.model_dump_json())
    assert "changed after export" in refused(whole | {"metrics": whole["metrics"] | {"new": {"auc": 1.0}}})
    # Likewise software from before a field existed refuses a bundle that has it.
    assert "surprise" in refused(whole | {"surprise": None})


def test_manifest_built_with_defaults_is_sealed_with_all_its_fields(manifest):
    content = manifest.model_dump(exclude={"manifest_sha256", "temporal", "golden", "schema_version"})
    sealed = Manifest.model_validate(content).sealed()
    assert set(json.loads(sealed.model_dump_json(exclude_unset=True))) == set(Manifest.model_fields)
    assert Manifest.model_validate_json(sealed.model_dump_json()).digest() == sealed.manifest_sha256


def test_operating_points_of_clips_have_the_names_of_those_of_images(with_head):
    head = with_head.temporal.model_dump()
    points = dict(head["operating_points"])
    extra = OperatingPoint(threshold=0.5, chosen_on="nothing", apcer=0, bpcer=0).model_dump()
    with pytest.raises(ValidationError, match="lax is in one of the two only"):
        changed(with_head, temporal={**head, "operating_points": {**points, "lax": extra}})
    del points["strict"]
    with pytest.raises(ValidationError, match="strict is in one of the two only"):
        changed(with_head, temporal={**head, "operating_points": points})


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"temperature": 0}, "temperature"), ({"clip": {"frames": 1}}, "frames"), ({"surprise": 1}, "surprise")],
)
def test_head_out_of_range_is_refused(with_head, changes, said):
    with pytest.raises(ValidationError, match=said):
        changed(with_head, temporal={**with_head.temporal.model_dump(), **changes})


def test_head_without_its_file_is_refused(with_head):
    files = {name: digest for name, digest in with_head.files.items() if name != "temporal.onnx"}
    with pytest.raises(ValidationError, match=r"no hash for temporal\.onnx"):
        changed(with_head, files=files)


def spread(scores):
    return ScoreDistribution.of(scores)


def test_reference_scores_are_shares_at_or_below_each_edge(manifest):
    low, high = spread([0.0, 0.05, 0.050001, 0.3]), spread([0.95, 1.0])
    assert low.count == 4
    assert dict(zip(SCORE_EDGES, low.shares, strict=True))[0.05] == 0.5
    assert low.shares[1:5] == (0.75, 0.75, 0.75, 0.75)
    assert low.shares[5:] == (1.0,) * 14
    assert high.shares == (0.0,) * 18 + (0.5,)


def test_reference_scores_are_sealed_and_read_back(manifest, tmp_path):
    reference = ReferenceScores(photo=LabelledScores(live=spread([0.9, 0.99]), spoof=spread([0.01])))
    sealed = changed(manifest, reference_scores=reference).sealed()
    (tmp_path / "bundle.json").write_text(sealed.model_dump_json())
    assert read_manifest(tmp_path).reference_scores == reference
    content = json.loads(sealed.model_dump_json())
    del content["reference_scores"]["photo"]["live"]["shares"][0]
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="shares"):
        read_manifest(tmp_path)


def test_a_bundle_from_before_reference_scores_keeps_its_digest(manifest, tmp_path):
    content = manifest.model_dump(mode="json", exclude={"reference_scores", "manifest_sha256"})
    old = Manifest.model_validate(content)
    written = json.loads(old.model_copy(update={"manifest_sha256": old.digest()}).model_dump_json(exclude_unset=True))
    assert "reference_scores" not in written
    (tmp_path / "bundle.json").write_text(json.dumps(written | {"manifest_sha256": old.digest()}))
    assert read_manifest(tmp_path).reference_scores is None


def test_reference_scores_of_clips_belong_to_a_temporal_head(manifest, with_head):
    both = LabelledScores(live=spread([0.9]), spoof=spread([0.1]))
    with pytest.raises(ValidationError, match="with a temporal head, and only then"):
        changed(manifest, reference_scores=ReferenceScores(photo=both, clip=both))
    with pytest.raises(ValidationError, match="with a temporal head, and only then"):
        changed(with_head, reference_scores=ReferenceScores(photo=both))
    assert changed(with_head, reference_scores=ReferenceScores(photo=both, clip=both)).reference_scores.clip == both


@pytest.mark.parametrize("shares", [(0.5,) * 18 + (0.4,), (-0.1,) + (0.5,) * 18, (0.5,) * 18 + (1.1,), (0.5,) * 18])
def test_shares_that_are_no_distribution_are_refused(shares):
    with pytest.raises(ValidationError, match="shares"):
        ScoreDistribution(count=3, shares=shares)


def test_settings_of_a_run_may_be_lists_but_not_what_json_cannot_hold(manifest):
    provenance = manifest.provenance.model_dump()
    config = {"hold_out": ["hall", "office"], "steps": 3, "init": None, "nested": {"a": [0.1, True]}}
    again = Manifest.model_validate_json(
        changed(manifest, provenance={**provenance, "config": config}).sealed().model_dump_json()
    )
    assert again.provenance.config == config
    assert again.digest() == again.manifest_sha256
    with pytest.raises(ValidationError, match="finite"):
        changed(manifest, provenance={**provenance, "config": {"values": [float("nan")]}})


def calibrated_point(**changes):
    calibration = {
        "method": "live_only", "rule": "5 % of live people are refused", "data_sha256": "0" * 64,
        "created_at": "2026-11-27T12:00:00Z", "live_people": 20, "live_files": 40, "bpcer_low": 0, "bpcer_high": 0.14,
        "apcer_of": "reference_attacks",
    }  # fmt: skip
    scores = {"count": 40, "shares": [0.0] * 18 + [0.5]}
    point = {"threshold": 0.3, "chosen_on": "lobby", "apcer": 0.2, "bpcer": 0.05, "reference_scores": scores}
    return {**point, "calibration": {**calibration, **changes}}


def test_an_operating_point_says_what_it_was_calibrated_on(manifest, tmp_path):
    points = {**manifest.model_dump()["operating_points"], "lobby": calibrated_point()}
    sealed = changed(manifest, operating_points=points).sealed()
    (tmp_path / "bundle.json").write_text(sealed.model_dump_json())
    point = read_manifest(tmp_path).operating_points["lobby"]
    assert (point.calibration.live_people, point.reference_scores.count) == (20, 40)
    assert sealed.operating_points["eer"].calibration is None
    moved = json.loads(sealed.model_dump_json())
    moved["operating_points"]["lobby"]["calibration"]["live_people"] = 200
    (tmp_path / "bundle.json").write_text(json.dumps(moved))
    with pytest.raises(BundleError, match="changed after export"):
        read_manifest(tmp_path)


def test_a_calibration_on_nobody_is_refused(manifest):
    points = {**manifest.model_dump()["operating_points"], "lobby": calibrated_point(live_people=0)}
    with pytest.raises(ValidationError, match="live_people"):
        changed(manifest, operating_points=points)


def test_scores_of_reference_attacks_must_not_fall(manifest):
    attacks = {"count": 9, "people": 3, "quantiles": [0.1, 0.5, 0.4]}
    with pytest.raises(ValidationError, match="must not fall"):
        changed(manifest, reference_attacks={"scored_by": "a test", "photo": {"print": attacks}})
