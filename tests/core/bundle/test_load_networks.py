"""Networks that are not what the manifest says are refused."""

import numpy as np
import onnx
import pytest

from liveness_core.bundle import (
    NetworkFile,
    load_bundle,
)
from liveness_core.preprocess import PreprocessSpec
from support.faulty_bundles import encoder_variant, error_of, resave, spec, with_batch_of_one
from support.tiny_bundle import DEPTH, SIZE, classifier_bytes, encoder_bytes

FILES = ["encoder.onnx", "classifier.onnx", "golden.npz"]


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
