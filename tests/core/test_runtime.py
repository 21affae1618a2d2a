from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from liveness_core.runtime import (
    NetworkError,
    OrtSession,
    ProviderError,
    RuntimeOptions,
    TensorSpec,
    candidates,
    providers,
    session,
)
from liveness_core.runtime.bound import BoundRuns, can_be_bound, sizes_up_to
from liveness_core.runtime.placement import Placement, placed, profiled
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


CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def installed(monkeypatch):
    """Makes ONNX Runtime and Python say that these providers and packages are there, whatever is."""

    def install(*names, packages=(), devices=()):
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*names, CPU])
        monkeypatch.setattr(providers, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(providers, "_openvino_devices", lambda: list(devices))
        monkeypatch.setattr(providers, "_load_gpu_libraries", lambda: None)

    return install


class FakeNative:
    """A session of ONNX Runtime that says it runs on these providers."""

    def __init__(self, *running):
        self.running = running

    def get_providers(self):
        return list(self.running)

    def get_inputs(self):
        return []

    get_outputs = get_inputs


@pytest.fixture
def running(monkeypatch):
    """Makes sessions for GPUs run on these providers, with so many nodes on each; those for the CPU are real."""
    real = session._load

    def run(*names, **nodes):
        asked = []

        def load(model, options, given):
            asked.append(given)
            return real(model, options, given) if given == [CPU] else FakeNative(*names)

        monkeypatch.setattr(session, "_load", load)
        placement = Placement({CUDA if name == "cuda" else CPU: count for name, count in nodes.items()}, ("Softmax",))
        monkeypatch.setattr(session, "profiled", lambda *_: placement)
        return asked

    return run


def test_automatic_takes_the_fastest_that_is_installed_and_ends_with_the_cpu(installed, monkeypatch):
    monkeypatch.setattr(providers, "_has", lambda flag: flag == "amx_tile")
    installed()
    assert candidates("auto") == ("cpu",)
    installed(TENSORRT, CUDA)
    assert candidates("auto") == ("cuda", "cpu")  # TensorRT's own libraries are not installed
    installed(TENSORRT, CUDA, packages=["tensorrt_libs"], devices=["a processor"])
    assert candidates("auto") == ("tensorrt", "cuda", "openvino", "cpu")
    assert candidates("openvino") == ("openvino",)
    monkeypatch.setattr(providers, "_has", lambda _flag: False)
    assert candidates("auto") == ("tensorrt", "cuda", "cpu")  # there it would be slower than the CPU provider
    assert candidates("openvino") == ("openvino",)


@pytest.mark.parametrize(
    ("provider", "check"),
    [("cuda", "extra `gpu`.*driver"), ("tensorrt", "extras `gpu` and `tensorrt`"), ("openvino", "extra `openvino`")],
)
def test_a_forced_provider_that_is_not_there_is_refused_with_what_to_check(installed, provider, check):
    installed()
    with pytest.raises(ProviderError, match=check):
        OrtSession(encoder_bytes(), RuntimeOptions(provider))


def test_a_forced_provider_that_runs_on_the_cpu_after_all_is_refused(installed, running):
    installed(CUDA)
    running(CPU)
    with pytest.raises(ProviderError, match="CUDA was asked for but ONNX Runtime runs on the CPU"):
        OrtSession(encoder_bytes(), RuntimeOptions("cuda"))
    running(CUDA, CPU, cpu=3)  # it is in the list, and no node ran there
    with pytest.raises(ProviderError, match="ONNX Runtime runs on the CPU"):
        OrtSession(encoder_bytes(), RuntimeOptions("cuda"))


def test_a_forced_provider_that_leaves_a_node_to_the_cpu_is_refused_and_the_node_named(installed, running):
    installed(CUDA)
    running(CUDA, CPU, cuda=9, cpu=1)
    with pytest.raises(ProviderError, match=r"1 of 10 nodes run on the CPU \(Softmax\)"):
        OrtSession(encoder_bytes(), RuntimeOptions("cuda"))
    running(CUDA, CPU, cuda=10)
    assert OrtSession(encoder_bytes(), RuntimeOptions("cuda")).provider == "cuda"


def test_automatic_goes_on_with_the_cpu_where_a_gpu_does_not_run_everything(installed, running):
    installed(CUDA)
    running(CUDA, CPU, cuda=9, cpu=1)
    made = OrtSession(encoder_bytes(), RuntimeOptions())
    assert made.provider == "cpu"
    np.testing.assert_allclose(made.run({"image": image(0.5)}, ["embedding"])[0], 0.5, atol=1e-4)


def test_limits_and_caches_reach_the_provider(installed, running, tmp_path):
    installed(TENSORRT, CUDA)
    asked = running(CUDA, CPU, cuda=1)
    OrtSession(encoder_bytes(), RuntimeOptions("cuda", device_id=1, gpu_memory_mb=64, cuda_graphs=True))
    [(_, options), _] = asked[-1]
    assert (options["device_id"], options["gpu_mem_limit"], options["enable_cuda_graph"]) == ("1", str(64 << 20), "1")
    with pytest.raises(ProviderError):  # no node of the stub runs on TensorRT
        OrtSession(encoder_bytes(), RuntimeOptions("tensorrt", most_images=8, half=True, cache=tmp_path))
    [(_, options), (_, cuda), _] = asked[-1]
    assert options["trt_engine_cache_path"] == str(tmp_path / "tensorrt")
    assert (tmp_path / "tensorrt").is_dir()
    assert options["trt_profile_min_shapes"] == f"image:1x3x{SIZE}x{SIZE}"
    assert options["trt_profile_max_shapes"] == f"image:8x3x{SIZE}x{SIZE}"
    assert options["trt_fp16_enable"] == "True"
    assert "enable_cuda_graph" not in cuda


def test_a_profile_tells_where_each_node_ran(tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    native = ort.InferenceSession(encoder_bytes(), options, providers=[CPU])
    placement = profiled(native, OrtSession(encoder_bytes()).inputs)
    assert set(placement.nodes) == {CPU}
    assert placement.on_cpu
    assert list(tmp_path.iterdir()) == []
    event = {"cat": "Node", "args": {"provider": CUDA, "op_name": "Conv"}}
    both = placed([event, {"cat": "Session"}, {"cat": "Node", "args": {"provider": CPU, "op_name": "Shape"}}, event])
    assert both == Placement({CUDA: 2, CPU: 1}, ("Shape",))
    # What computes shapes is on the CPU by design; what computes with pixels is not.
    shape = {"provider": CPU, "op_name": "Shape", "output_type_shape": [{"int64": [4]}]}
    pixels = {"provider": CPU, "op_name": "Resize", "output_type_shape": [{"float": [1, 3, 8, 8]}]}
    found = placed([event, {"cat": "Node", "args": shape}, {"cat": "Node", "args": pixels}])
    assert found == Placement({CUDA: 1, CPU: 1}, ("Resize",))


def test_bound_runs_give_what_plain_ones_give_and_fill_batches_up(encoder):
    assert [sizes_up_to(most) for most in (1, 2, 5, 8)] == [(1,), (1, 2), (1, 2, 4, 8), (1, 2, 4, 8)]
    results = [spec for spec in encoder.outputs if spec.name == "embedding"]
    assert can_be_bound([*encoder.inputs, *results])
    assert not can_be_bound([TensorSpec(name="x", dtype="float32", shape=(None, 3, None, None))])
    bound = BoundRuns(encoder.native, encoder.inputs[0], results, device="cpu", most=5)
    assert bound.most == 8
    values = np.linspace(-0.9, 0.9, 8)
    for count in (8, 1, 3, 5, 2, 8):  # a larger batch before a smaller one: nothing of it may be left
        [got] = bound.run(image(*values[:count]))
        [plain] = encoder.run({"image": image(*values[:count])}, ["embedding"])
        np.testing.assert_array_equal(got, plain)
