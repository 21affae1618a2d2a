"""Running ONNX networks. Execution providers and thread counts are chosen here and nowhere else."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Provider = Literal["auto", "cpu", "cuda"]

NEXT_PROVIDER: dict[str, Provider] = {"cuda": "cpu"}
"""Where to go on when a provider fails while it runs, by the name that a session gives its own."""

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"


class ProviderError(RuntimeError):
    """The execution provider that was asked for cannot be used."""


class NetworkError(RuntimeError):
    """A network could not be loaded or run."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Where networks run, and on how many threads."""

    provider: Provider = "auto"
    """`auto` uses CUDA where it works and else the CPU; `cuda` is an error where CUDA does not work."""
    intra_op_threads: int = 1
    """Threads that share the work of one network. ONNX Runtime's own default fails in some containers."""
    device_id: int = 0
    """Number of the GPU, from 0."""


class TensorSpec(BaseModel):
    """One input or output of a network: as the network has it, or as a bundle's manifest declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    """NumPy's name, e.g. `float32`."""
    shape: tuple[int | None, ...]
    """None (null in JSON) where the dimension is free."""


class TensorSession(Protocol):
    """A loaded network. Implementations are safe to call from several threads at once."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The tensors that it takes."""
        ...

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """The tensors that it can compute."""
        ...

    @property
    def provider(self) -> str:
        """The device it runs on: `cpu` or `cuda`."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Compute the outputs of these names, in that order.

        Raises:
            NetworkError: the runtime refused the input or failed.
        """
        ...


class OrtSession:
    """A `TensorSession` on ONNX Runtime."""

    def __init__(self, model: bytes, options: RuntimeOptions | None = None, *, fixed_shapes: bool = True) -> None:
        """Load a network from the bytes of its ONNX file.

        Args:
            model: content of the file. Not its path: what was hashed must be what is loaded.
            options: provider and threads.
            fixed_shapes: False for networks whose input size changes from call to call. ONNX Runtime's memory arena
                is then switched off, since it would keep a block for every size that it ever saw.

        Raises:
            ProviderError: `cuda` was asked for and does not work.
            NetworkError: the bytes are not a network that this runtime can load.
        """
        options = options or RuntimeOptions()
        self._session = _create(model, options, fixed_shapes)
        actual = self._session.get_providers()[0]
        # `get_available_providers()` lists CUDA even where the session falls back to the CPU, so the session is asked.
        if options.provider == "cuda" and actual != _CUDA:
            raise ProviderError(
                "CUDA was asked for but ONNX Runtime runs on the CPU: check that the extra `gpu` is installed "
                "(not `service` beside it), the NVIDIA driver, and that the container sees the GPU"
            )
        self.provider = "cuda" if actual == _CUDA else "cpu"
        self.inputs = tuple(_info(node) for node in self._session.get_inputs())
        self.outputs = tuple(_info(node) for node in self._session.get_outputs())

    @property
    def native(self) -> ort.InferenceSession:
        """ONNX Runtime's own session, for libraries that need one."""
        return self._session

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See `TensorSession.run`."""
        try:
            return [np.asarray(value) for value in self._session.run(list(outputs), dict(feeds))]
        except Exception as error:  # ONNX Runtime raises half a dozen unrelated classes
            raise NetworkError(f"ONNX Runtime failed: {_first_line(error)}") from error


def _create(model: bytes, options: RuntimeOptions, fixed_shapes: bool) -> ort.InferenceSession:
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
    providers: list[Any] = [_CPU]
    if options.provider != "cpu" and _CUDA in ort.get_available_providers():
        _load_cuda_libraries()
        providers.insert(0, (_CUDA, {"device_id": options.device_id}))
    try:
        session = ort.InferenceSession(model, session_options, providers=providers)
    except Exception as error:  # as in `run`
        raise NetworkError(f"not a network that ONNX Runtime can load: {_first_line(error)}") from error
    # Otherwise a run that fails on the GPU is quietly repeated on the CPU, by a session that nobody has verified.
    session.disable_fallback()
    return session


@cache
def _load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from the packages that the extra `gpu` installs, where the system's loader does not look."""
    ort.preload_dlls(directory="")


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
