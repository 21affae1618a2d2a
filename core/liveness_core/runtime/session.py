"""A network that ONNX Runtime runs, on the provider that was asked for and on no other."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from liveness_core.runtime.bound import BoundRuns, can_be_bound, run_options
from liveness_core.runtime.options import NetworkError, Provider, ProviderError, RuntimeOptions, TensorSpec
from liveness_core.runtime.placement import Placement, profiled
from liveness_core.runtime.providers import CPU, OWN_NAMES, ask_for, candidates, not_running


class OrtSession:
    """A `TensorSession` on ONNX Runtime."""

    def __init__(self, model: bytes, options: RuntimeOptions | None = None, *, fixed_shapes: bool = True) -> None:
        """Load a network from the bytes of its ONNX file.

        Anything but the plain CPU is tried with a run of zeros, whose profile tells where each node ran.

        Args:
            model: content of the file. Not its path: what was hashed must be what is loaded.
            options: provider and threads.
            fixed_shapes: False for networks whose input size changes from call to call. ONNX Runtime's memory arena
                is then switched off, since it would keep a block for every size that it ever saw.

        Raises:
            ProviderError: the provider that was asked for does not work, or leaves nodes to the CPU.
            NetworkError: the bytes are not a network that this runtime can load.
        """
        options = options or RuntimeOptions()
        *preferred, last = candidates(options.provider)
        for provider in preferred:
            try:
                self._open(model, options, provider, fixed_shapes)
            except (ProviderError, NetworkError):
                continue
            return
        self._open(model, options, last, fixed_shapes)

    def _open(self, model: bytes, options: RuntimeOptions, provider: Provider, fixed_shapes: bool) -> None:
        self._session, self.placement = _create(model, options, provider, fixed_shapes)
        self.provider: str = provider
        """See `TensorSession`."""
        self.inputs = tuple(_info(node) for node in self._session.get_inputs())
        self.outputs = tuple(_info(node) for node in self._session.get_outputs())
        self._bound: dict[tuple[str, ...], BoundRuns] = {}
        self._on_gpu = provider in ("cuda", "tensorrt")
        self._graphs = options.cuda_graphs and provider == "cuda"
        self._options = options

    @property
    def native(self) -> ort.InferenceSession:
        """ONNX Runtime's own session, for libraries that need one."""
        return self._session

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See `TensorSession.run`."""
        try:
            if self._on_gpu and (bound := self._bound_runs(feeds, outputs)) is not None:
                return bound.run(feeds[self.inputs[0].name])
            options = run_options(None) if self._graphs else None
            return [np.asarray(value) for value in self._session.run(list(outputs), dict(feeds), options)]
        except Exception as error:  # ONNX Runtime raises half a dozen unrelated classes
            raise NetworkError(f"ONNX Runtime failed: {_first_line(error)}") from error

    def _bound_runs(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> BoundRuns | None:
        """What runs these feeds with tensors that stay on the GPU; None where shapes are free, or other ones come."""
        key = tuple(outputs)
        if key not in self._bound:
            wanted = [spec for spec in self.outputs if spec.name in outputs]
            if len(self.inputs) != 1 or len(wanted) != len(outputs) or not can_be_bound([*self.inputs, *wanted]):
                return None
            # Graphs are numbered by the size of their batch, so only one selection of outputs can have them.
            self._bound[key] = BoundRuns(
                self._session,
                self.inputs[0],
                sorted(wanted, key=lambda spec: key.index(spec.name)),
                device="cuda",
                device_id=self._options.device_id,
                most=self._options.most_images,
                graphs=self._graphs and not self._bound,
            )
        bound, feed = self._bound[key], feeds.get(self.inputs[0].name)
        fits = feed is not None and feed.ndim == len(self.inputs[0].shape) and 0 < len(feed) <= bound.most
        as_declared = fits and feed is not None and feed.shape[1:] == self.inputs[0].shape[1:]
        return bound if as_declared and feed is not None and feed.dtype == self.inputs[0].dtype else None


def _create(
    model: bytes, options: RuntimeOptions, provider: Provider, fixed_shapes: bool
) -> tuple[ort.InferenceSession, Placement | None]:
    """Make a session for one provider; also where its nodes ran, which is not asked of the plain CPU."""
    session_options = _session_options(options, fixed_shapes)
    inputs: Sequence[TensorSpec] = ()
    if provider == "tensorrt":  # it must know the sizes of batches beforehand
        inputs = [_info(node) for node in _load(model, _session_options(options, fixed_shapes), [CPU]).get_inputs()]
    providers = ask_for(provider, options, inputs, session_options)
    if options.cache is not None and provider in ("tensorrt", "openvino"):
        (options.cache / provider).mkdir(parents=True, exist_ok=True)
    if provider == "cpu":
        return _load(model, session_options, providers), None
    with tempfile.TemporaryDirectory() as folder:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(Path(folder) / "profile")
        session = _load(model, session_options, providers)
        # `get_available_providers()` lists CUDA even where the session falls back to the CPU, so the session is asked.
        if session.get_providers()[0] != OWN_NAMES[provider]:
            raise not_running(provider)
        placement = profiled(session, [_info(node) for node in session.get_inputs()])
    if OWN_NAMES[provider] not in placement.nodes:
        raise not_running(provider)
    if CPU in placement.nodes:
        raise ProviderError(f"{provider} was asked for, but {placement}: use another provider, or precision")
    return session, placement


def _session_options(options: RuntimeOptions, fixed_shapes: bool) -> ort.SessionOptions:
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.intra_op_threads
    session_options.inter_op_num_threads = 1
    session_options.log_severity_level = 3
    # Waiting threads must not spin: the cores are needed to decode the next picture and find its faces.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A network may name other files for its weights, which nobody has verified: they are looked for where none can be.
    session_options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if not fixed_shapes:
        session_options.enable_cpu_mem_arena = False
        session_options.enable_mem_pattern = False
    return session_options


def _load(model: bytes, session_options: ort.SessionOptions, providers: list[Any]) -> ort.InferenceSession:
    try:
        session = ort.InferenceSession(model, session_options, providers=providers or None)
    except Exception as error:  # as in `run`
        raise NetworkError(f"not a network that ONNX Runtime can load: {_first_line(error)}") from error
    # Otherwise a run that fails on the GPU is quietly repeated on the CPU, by a session that nobody has verified.
    session.disable_fallback()
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}


def _info(node: Any) -> TensorSpec:  # onnxruntime ships no types
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)
