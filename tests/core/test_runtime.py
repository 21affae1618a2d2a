from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from liveness_core.runtime import NetworkError, OrtSession, ProviderError, RuntimeOptions, TensorSpec
from support.tiny_bundle import DEPTH, SIZE, classifier_bytes, encoder_bytes

has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.fixture(scope="module")
def encoder():
    return OrtSession(encoder_bytes())


def image(*values):
    return np.stack([np.full((3, SIZE, SIZE), value, np.float32) for value in values])


def test_session_knows_its_tensors(encoder):
    assert encoder.inputs == (TensorSpec(name="image", dtype="float32", shape=(None, 3, SIZE, SIZE)),)
    assert encoder.outputs == (
        TensorSpec(name="embedding", dtype="float32", shape=(None, DEPTH)),
        TensorSpec(name="features", dtype="float32", shape=(None, DEPTH, 7, 7)),
    )


def test_outputs_are_those_asked_for_in_that_order(encoder):
    features, embedding = encoder.run({"image": image(0.25, -0.5)}, ["features", "embedding"])
    assert features.shape == (2, DEPTH, 7, 7)
    np.testing.assert_allclose(embedding, [[0.25] * DEPTH, [-0.5] * DEPTH], atol=1e-4)
    [alone] = encoder.run({"image": image(0.25)}, ["embedding"])
    np.testing.assert_allclose(alone, [[0.25] * DEPTH], atol=1e-4)


@pytest.mark.parametrize("options", [None, RuntimeOptions(provider="cpu"), RuntimeOptions(intra_op_threads=2)])
def test_networks_run_with_every_option(options):
    session = OrtSession(classifier_bytes(2.0, 0.0), options, fixed_shapes=False)
    assert session.provider == ("cuda" if has_cuda and (options is None or options.provider == "auto") else "cpu")
    [logits] = session.run({"embedding": np.zeros((3, DEPTH), np.float32)}, ["logits"])
    np.testing.assert_allclose(logits, [[2, 0]] * 3)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, encoder_bytes()[:-40]])
def test_bytes_that_are_no_network_are_refused(content):
    with pytest.raises(NetworkError, match="not a network that ONNX Runtime can load") as raised:
        OrtSession(content)
    assert raised.value.__cause__ is not None
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("feeds", "outputs"),
    [
        ({"image": np.zeros((1, 3, SIZE, SIZE), np.float64)}, ["embedding"]),
        ({"image": np.zeros((1, 3, SIZE, SIZE - 1), np.float32)}, ["embedding"]),
        ({"image": np.zeros((3, SIZE, SIZE), np.float32)}, ["embedding"]),
        ({"picture": np.zeros((1, 3, SIZE, SIZE), np.float32)}, ["embedding"]),
        ({}, ["embedding"]),
        ({"image": np.zeros((1, 3, SIZE, SIZE), np.float32)}, ["logits"]),
    ],
)
def test_wrong_input_is_a_network_error_and_the_session_lives_on(encoder, feeds, outputs):
    with pytest.raises(NetworkError, match=r"ONNX Runtime failed: .+"):
        encoder.run(feeds, outputs)
    [embedding] = encoder.run({"image": image(0.5)}, ["embedding"])
    np.testing.assert_allclose(embedding, 0.5, atol=1e-4)


@pytest.mark.skipif(has_cuda, reason="ONNX Runtime has CUDA here")
def test_cuda_without_cuda_is_refused_with_what_to_check():
    with pytest.raises(ProviderError, match=r"extra `gpu`.*driver.*container"):
        OrtSession(encoder_bytes(), RuntimeOptions(provider="cuda"))


def test_threads_share_a_session(encoder):
    values = np.linspace(-1, 1, 16, dtype=np.float32)
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda value: encoder.run({"image": image(value)}, ["embedding"])[0][0, 0], values)
    np.testing.assert_allclose(list(results), values, atol=1e-4)


def test_a_failing_run_is_not_quietly_repeated_on_another_provider(encoder):
    assert encoder.native._enable_fallback is False
