import io
import math
import os

import numpy as np
import onnxruntime as ort
import pytest

from liveness_core.bundle import (
    BundleError,
    BundleFolderError,
    GoldenCases,
    load_bundle,
)
from liveness_core.bundle.load import parse_manifest
from liveness_core.runtime import ProviderError, RuntimeOptions
from support.faulty_bundles import edited, encoder_variant, error_of, resave
from support.tiny_bundle import classifier_bytes, encoder_bytes

FILES = ["encoder.onnx", "classifier.onnx", "golden.npz"]


def test_saved_bundle_loads_and_scores(original):
    bundle = load_bundle(original)
    assert bundle.path == original
    assert bundle.manifest.name == "tiny"
    assert bundle.variant.precision == "fp32"
    [result] = bundle.scorer.score([np.full((224, 224, 3), 255, np.uint8)])
    assert result.score == pytest.approx(1 / (1 + math.exp(-2.5)), abs=1e-5)


def test_bundles_temperature_is_applied(bundle):
    golden = GoldenCases.from_bytes((bundle / "golden.npz").read_bytes())
    cooler = 1 / (1 + ((1 - golden.scores_K["fp32"]) / golden.scores_K["fp32"]) ** 0.5)
    content = GoldenCases(golden.crops_KSS3, {"fp32": cooler}).to_bytes()
    resave(bundle, {"temperature": 2.0}, golden_npz=content)
    [result] = load_bundle(bundle).scorer.score([np.full((224, 224, 3), 255, np.uint8)])
    assert result.score == pytest.approx(1 / (1 + math.exp(-1.25)), abs=1e-5)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_one_flipped_bit_in_a_file_is_refused(bundle, name, share):
    content = bytearray((bundle / name).read_bytes())
    content[int(share * (len(content) - 1))] ^= 1
    (bundle / name).write_bytes(content)
    error = error_of(bundle)
    assert error.file == name
    assert "SHA-256" in error.reason


def test_one_flipped_bit_anywhere_in_the_manifest_is_refused(bundle):
    content = (bundle / "bundle.json").read_bytes()
    for position in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[position] ^= 1
        with pytest.raises(BundleError) as raised:
            parse_manifest(bytes(flipped))
        assert raised.value.file == "bundle.json"


@pytest.mark.parametrize("name", [*FILES, "bundle.json"])
def test_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    error = error_of(bundle)
    assert error.file == name
    assert "missing" in error.reason


@pytest.mark.parametrize("name", [*FILES, "bundle.json"])
def test_folder_in_place_of_a_file_is_named(bundle, name):
    (bundle / name).unlink()
    (bundle / name).mkdir()
    error = error_of(bundle)
    assert error.file == name
    assert "cannot be read" in error.reason


@pytest.mark.parametrize("name", [*FILES, "bundle.json"])
def test_empty_file_is_named(bundle, name):
    (bundle / name).write_bytes(b"")
    assert error_of(bundle).file == name


def test_missing_folder_has_an_error_of_its_own(tmp_path):
    """The service adds which of its settings to check."""
    error = error_of(tmp_path / "nowhere")
    assert isinstance(error, BundleFolderError)
    assert error.file == str(tmp_path / "nowhere")
    assert error.reason == "there is no such folder"


def test_changed_threshold_is_refused(bundle):
    edited(bundle, lambda content: content["operating_points"]["eer"].update(threshold=0.1))
    error = error_of(bundle)
    assert error.file == "bundle.json"
    assert "changed after export" in error.reason


def test_layout_of_the_json_does_not_matter(bundle):
    edited(bundle, lambda content: None)
    assert load_bundle(bundle).manifest.name == "tiny"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content.update(schema_version=2), "schema_version"),
        (lambda content: content.update(schema_version=3), "schema_version"),
        (lambda content: content.pop("temperature"), "temperature"),
        (lambda content: content.update(surprise=1), "surprise"),
        (lambda content: content["files"].update({"../../etc/passwd": "0" * 64}), "files"),
        (lambda content: content.update(golden="../golden.npz"), "golden"),
    ],
)
def test_manifest_of_another_schema_is_refused_with_the_field(bundle, edit, said):
    edited(bundle, edit)
    error = error_of(bundle)
    assert error.file == "bundle.json"
    assert "schema version 1" in error.reason
    assert said in error.reason


def test_unknown_precision_is_refused_with_the_choices(original):
    error = error_of(original, precision="int8")
    assert error.file == "bundle.json"
    assert "int8" in error.reason
    assert "choose one of fp32" in error.reason


def test_variant_asked_for_is_the_one_that_runs(bundle):
    fp32 = encoder_variant()[0]
    int8 = fp32.model_copy(
        update={"precision": "int8", "encoder": fp32.encoder.model_copy(update={"file": "encoder.int8.onnx"})}
    )
    golden = GoldenCases.from_bytes((bundle / "golden.npz").read_bytes())
    scores = {"fp32": golden.scores_K["fp32"], "int8": golden.scores_K["fp32"]}
    resave(
        bundle,
        {"variants": (fp32, int8)},
        encoder_int8_onnx=encoder_bytes(),
        golden_npz=GoldenCases(golden.crops_KSS3, scores).to_bytes(),
    )
    assert load_bundle(bundle).variant.encoder.file == "encoder.onnx"
    assert load_bundle(bundle, precision="int8").variant.encoder.file == "encoder.int8.onnx"


def test_variant_without_golden_scores_is_refused(bundle):
    int8 = encoder_variant()[0].model_copy(update={"precision": "int8"})
    resave(bundle, {"variants": (int8,)})
    error = error_of(bundle)
    assert error.file == "golden.npz"
    assert "int8" in error.reason


class Writes:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_golden_file_with_pickled_objects_is_refused_and_does_not_run(bundle, tmp_path):
    content = io.BytesIO()
    np.savez(content, crops=np.array([Writes(tmp_path / "ran")], dtype=object))
    resave(bundle, golden_npz=content.getvalue())
    error = error_of(bundle)
    assert (error.file, "allow_pickle" in error.reason) == ("golden.npz", True)
    assert not (tmp_path / "ran").exists()


def test_golden_file_that_is_none_is_refused(bundle):
    resave(bundle, golden_npz=b"garbage")
    assert error_of(bundle).file == "golden.npz"


def test_golden_crops_of_another_size_are_refused(bundle):
    crops = np.zeros((2, 64, 64, 3), np.uint8)
    resave(bundle, golden_npz=GoldenCases({"image": crops}, {"fp32": np.zeros(2)}).to_bytes())
    assert "golden" in error_of(bundle).reason


def test_golden_drift_beyond_the_tolerance_is_refused(bundle):
    resave(bundle, classifier_onnx=classifier_bytes(0.5 + 0.01, 2.0))  # moves scores by about 0.0024
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert "drifts by 0.002" in error.reason
    assert "0.0010" in error.reason


def test_golden_drift_within_the_tolerance_is_accepted(bundle):
    resave(bundle, classifier_onnx=classifier_bytes(0.5 + 0.002, 2.0))
    assert load_bundle(bundle).manifest.name == "tiny"


def test_one_drifting_case_of_several_is_enough(bundle):
    golden = GoldenCases.from_bytes((bundle / "golden.npz").read_bytes())
    scores = golden.scores_K["fp32"].copy()
    scores[1] -= 0.002
    resave(bundle, golden_npz=GoldenCases(golden.crops_KSS3, {"fp32": scores}).to_bytes())
    assert "drifts by 0.002" in error_of(bundle).reason


def test_network_that_gives_no_numbers_is_refused(bundle):
    resave(bundle, classifier_onnx=classifier_bytes(math.nan, 1.0))
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert "finite" in error.reason


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="ONNX Runtime has CUDA here")
def test_provider_that_does_not_run_is_not_the_bundles_fault(original):
    with pytest.raises(ProviderError, match="CUDA"):
        load_bundle(original, runtime=RuntimeOptions(provider="cuda"))
