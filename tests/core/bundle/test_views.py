"""Bundles of schema version 2: an encoder with one input a view."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from liveness_core.bundle import BundleError, GoldenCases, Manifest, default_bundle_path, load_bundle, save_bundle
from liveness_core.preprocess import PreprocessSpec
from liveness_core.views import cut_views
from support.fakes import face
from support.pictures import astronaut
from support.two_views import VIEWS, make_two_views_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "two"
    make_two_views_bundle(path, gain=4.0)
    return path


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


def saved_again(folder, path, files=None, **changes):
    manifest = Manifest.model_validate_json((folder / "bundle.json").read_text())
    contents = {name: (folder / name).read_bytes() for name in manifest.files} | (files or {})
    return save_bundle(path, manifest.model_copy(update=changes), contents)


def test_a_score_is_of_all_views(bundle):
    crops = cut_views(VIEWS, astronaut(), face())
    means = [2 * crop.mean() / 255 - 1 for crop in crops]
    [result] = bundle.scorer.score([crops])
    assert result.score == pytest.approx(1 / (1 + np.exp(-4 * np.mean(means))), abs=1e-5)
    bright = np.full_like(crops[1], 255)
    [brighter] = bundle.scorer.score([(crops[0], bright)])
    assert brighter.score > result.score + 0.05


def test_the_heat_map_is_the_encoders_own(bundle):
    crops = cut_views(VIEWS, astronaut(), face())
    [plain], [explained] = bundle.scorer.score([crops]), bundle.scorer.score([crops], explain=True)
    assert plain.activation is None
    parts = crops[0].reshape(4, 16, 4, 16, 3).mean((1, 3, 4)) / 127.5 - 1
    np.testing.assert_allclose(explained.activation, parts, atol=1e-4)
    assert bundle.manifest.heatmap_view == 0


def test_a_model_without_heat_maps_has_none(folder, tmp_path):
    views = tuple(view.model_copy(update={"heatmap": False}) for view in VIEWS)
    saved_again(folder, tmp_path / "b", preprocess=views)
    [result] = load_bundle(tmp_path / "b").scorer.score([cut_views(VIEWS, astronaut(), face())], explain=True)
    assert result.activation is None


def test_the_default_bundle_is_one_of_the_versions_that_are_read():
    written = json.loads((default_bundle_path() / "bundle.json").read_text())
    bundle = load_bundle(default_bundle_path())
    assert bundle.manifest.schema_version == written["schema_version"]
    if written["schema_version"] == 1:
        assert [view.model_dump(include=set(written["preprocess"]), mode="json") for view in bundle.manifest.views] == [
            written["preprocess"]
        ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "schema_version"),
        ({"preprocess": PreprocessSpec()}, "schema_version"),
        ({"preprocess": ()}, "preprocess"),
        ({"preprocess": (VIEWS[0], VIEWS[0])}, "twice"),
        ({"preprocess": tuple(view.model_copy(update={"heatmap": True}) for view in VIEWS)}, "one view only"),
    ],
)
def test_views_that_make_no_model_are_refused(folder, changes, said):
    manifest = Manifest.model_validate_json((folder / "bundle.json").read_text())
    with pytest.raises(ValidationError, match=said):
        Manifest.model_validate(dict(manifest) | changes)


@pytest.mark.parametrize(
    ("views", "file", "said"),
    [
        (VIEWS[:1], "golden.npz", "it has crops of wide, tight, expected wide"),
        ((VIEWS[0], VIEWS[1].model_copy(update={"name": "near"})), "encoder.onnx", "no input is named 'near'"),
        ((VIEWS[0], VIEWS[1].model_copy(update={"size": 48})), "encoder.onnx", "expected float32 (N, 3, 48, 48)"),
    ],
)
def test_an_encoder_or_golden_cases_of_other_views_are_refused(folder, tmp_path, views, file, said):
    saved_again(folder, tmp_path / "b", preprocess=views)
    with pytest.raises(BundleError) as raised:
        load_bundle(tmp_path / "b")
    assert raised.value.file == file
    assert said in raised.value.reason


def test_golden_crops_of_each_view_are_read_back(folder):
    content = (folder / "golden.npz").read_bytes()
    golden = GoldenCases.from_bytes(content)
    assert {name: crops.shape for name, crops in golden.crops_KSS3.items()} == {
        "wide": (3, 64, 64, 3),
        "tight": (3, 32, 32, 3),
    }
    again = GoldenCases.from_bytes(golden.to_bytes())
    for face_crops, others in zip(golden.faces(["tight", "wide"]), again.faces(["tight", "wide"]), strict=True):
        assert [crop.shape[0] for crop in face_crops] == [32, 64]
        np.testing.assert_array_equal(face_crops[0], others[0])
    fewer = GoldenCases({**golden.crops_KSS3, "tight": golden.crops_KSS3["tight"][:2]}, golden.scores_K)
    with pytest.raises(ValueError, match="the same number"):
        GoldenCases.from_bytes(fewer.to_bytes())
