import io
import json
import math
import os
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from liveness_core.bundle import (
    BundleError,
    BundleFolderError,
    GoldenCases,
    Manifest,
    NetworkFile,
    TensorSpec,
    Variant,
    load_bundle,
    save_bundle,
)
from liveness_core.bundle.load import read_manifest
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import ProviderError, RuntimeOptions
from support.tiny_bundle import DEPTH, SIZE, classifier_bytes, encoder_bytes, make_tiny_bundle

FILES = ["encoder.onnx", "classifier.onnx", "golden.npz"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path, bias=0.5, gain=2.0)
    return path


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def resave(path, changes=None, **files):
    """Write the bundle again with other content but correct hashes and digest, as a faulty exporter would."""
    manifest = Manifest.model_validate_json((path / "bundle.json").read_text())
    contents = {name: (path / name).read_bytes() for name in manifest.files}
    contents |= {name.replace("_", "."): content for name, content in files.items()}
    save_bundle(path, manifest.model_copy(update=changes or {}), contents)


def error_of(path, **options):
    with pytest.raises(BundleError) as raised:
        load_bundle(path, **options)
    error = raised.value
    assert str(error) == f"{error.file}: {error.reason}"
    return error


def edited(path, edit):
    content = json.loads((path / "bundle.json").read_text())
    edit(content)
    (path / "bundle.json").write_text(json.dumps(content))


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def encoder_variant(**changes):
    network = {
        "file": "encoder.onnx",
        "inputs": (spec("image", None, 3, SIZE, SIZE),),
        "outputs": (spec("embedding", None, DEPTH), spec("features", None, DEPTH, 7, 7)),
    }
    return (Variant(precision="fp32", encoder=NetworkFile(**{**network, **changes}), golden_tolerance=1e-3),)


def with_batch_of_one(content):
    model = onnx.load_from_string(content)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model.SerializeToString()


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
        (bundle / "bundle.json").write_bytes(flipped)
        with pytest.raises(BundleError) as raised:
            read_manifest(bundle)
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


def test_renamed_tensor_is_refused_with_both_names(bundle):
    resave(bundle, encoder_onnx=encoder_bytes(input_name="picture"))
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert "'image'" in error.reason
    assert "picture" in error.reason


def test_networks_in_each_others_place_are_refused(bundle):
    resave(bundle, encoder_onnx=classifier_bytes(0, 1), classifier_onnx=encoder_bytes())
    assert error_of(bundle).file == "encoder.onnx"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": (spec("image", None, 3, 112, 112),)}, "112"),
        ({"inputs": (spec("image", None, 3, SIZE, SIZE, dtype="float16"),)}, "float16"),
        ({"outputs": (spec("embedding", None, 8), spec("features", None, DEPTH, 7, 7))}, "(N, 8)"),
        ({"outputs": (spec("embedding", None, DEPTH), spec("features", None, DEPTH, 7))}, "(N, 4, 7)"),
        ({"outputs": (spec("embedding", None, DEPTH), spec("attention", None, 7))}, "attention"),
    ],
)
def test_tensor_that_is_not_as_declared_is_refused(bundle, changes, said):
    resave(bundle, {"variants": encoder_variant(**changes)})
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert said in error.reason


def test_manifest_that_declares_no_tensors_is_held_to_the_contract(bundle):
    resave(bundle, {"variants": encoder_variant(inputs=(), outputs=())})
    assert load_bundle(bundle).manifest.variants[0].encoder.outputs == ()
    resave(bundle, encoder_onnx=encoder_bytes(input_name="picture"))
    assert "'image'" in error_of(bundle).reason


def test_crop_size_that_the_encoder_does_not_take_is_refused(bundle):
    resave(bundle, {"preprocess": PreprocessSpec(size=112), "variants": encoder_variant(inputs=())})
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert "(N, 3, 112, 112)" in error.reason


def test_encoder_for_one_image_at_a_time_is_refused(bundle):
    resave(bundle, encoder_onnx=with_batch_of_one(encoder_bytes()))
    error = error_of(bundle)
    assert error.file == "encoder.onnx"
    assert "(1, 3, 224, 224)" in error.reason


def test_classifier_of_another_depth_is_refused(bundle):
    model = onnx.load_from_string(classifier_bytes(0, 1))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name == "weight"]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros((9, 2), np.float32), "weight"))
    classifier = NetworkFile(file="classifier.onnx", inputs=(), outputs=())
    resave(bundle, {"classifier": classifier}, classifier_onnx=model.SerializeToString())
    error = error_of(bundle)
    assert error.file == "classifier.onnx"
    assert "(N, 4)" in error.reason


@pytest.mark.parametrize("name", ["encoder.onnx", "classifier.onnx"])
def test_file_that_is_no_network_is_refused(bundle, name):
    resave(bundle, **{name.replace(".", "_"): b"garbage"})
    error = error_of(bundle)
    assert error.file == name
    assert "not a network" in error.reason


def test_a_network_whose_weights_lie_in_another_file_is_refused(bundle, tmp_path, monkeypatch):
    """Nothing would have verified that file. It lies in the working directory here, and in the bundle."""
    model = onnx.load_from_string(classifier_bytes(0.5, 2.0))
    onnx.save_model(model, tmp_path / "split.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    resave(bundle, classifier_onnx=(tmp_path / "split.onnx").read_bytes())
    (bundle / "weights").write_bytes((tmp_path / "weights").read_bytes())
    monkeypatch.chdir(tmp_path)
    error = error_of(bundle)
    assert (error.file, "xternal data path" in error.reason) == ("classifier.onnx", True)


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
