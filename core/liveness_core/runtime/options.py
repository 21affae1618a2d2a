"""What is asked of a runtime, what it offers, and its errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Provider = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]

NEXT_PROVIDER: dict[str, Provider] = {"tensorrt": "cuda", "cuda": "cpu", "openvino": "cpu"}
"""Where to go on when a provider fails while it runs, by the name that a session gives its own."""


class ProviderError(RuntimeError):
    """The execution provider that was asked for cannot be used."""


class NetworkError(RuntimeError):
    """A network could not be loaded or run."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Where networks run, and on how many threads."""

    provider: Provider = "auto"
    """`auto` takes the first of TensorRT, CUDA and, on processors with AMX, OpenVINO that is installed and runs the
    whole network, else the CPU.
    Any other is an error where it does not work, or leaves a part of the network to the CPU."""
    intra_op_threads: int = 1
    """Threads that share the work of one network. ONNX Runtime's own default fails in some containers."""
    device_id: int = 0
    """Number of the GPU, from 0."""
    gpu_memory_mb: int | None = None
    """Most of the GPU's memory that a network's session takes from CUDA, in MiB; None for no limit."""
    cuda_graphs: bool = False
    """Replay the GPU's work of each batch size as one graph."""
    most_images: int = 32
    """Largest batch that is expected. TensorRT builds its engine for batches up to this."""
    cache: Path | None = None
    """Folder in which TensorRT and OpenVINO keep compiled networks from one start to the next; None keeps none."""
    half: bool = False
    """The network was made for half precision, so that a provider may compute in 16 bits."""


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
        """What it runs on: `cpu`, `openvino`, `cuda` or `tensorrt`."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Compute the outputs of these names, in that order.

        Raises:
            NetworkError: the runtime refused the input or failed.
        """
        ...
