"""Bundles that a faulty exporter would write."""

import json

import onnx
import pytest

from liveness_core.bundle import (
    BundleError,
    Manifest,
    NetworkFile,
    TensorSpec,
    Variant,
    load_bundle,
    save_bundle,
)
from support.tiny_bundle import DEPTH, SIZE

FAULTS = (
    "flipped byte",
    "missing file",
    "missing manifest",
    "renamed tensor",
    "missing folder",
    "no such precision",
    "no signature",
    "no keys to check it with",
    "detector without weights",
    "detector's weights missing",
)
"""What the fixture `fault` of tests/service/conftest.py makes of a bundle and its settings."""
SOME_FAULTS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in ("flipped byte", "missing folder", "no signature")))
    for name in FAULTS
]
"""For tests of an app: tests/service/scoring/test_model.py asks all of them of the loader."""


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
