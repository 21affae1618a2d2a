"""Where the nodes of a network really run: a profile of one run says it, whatever the list of providers promises."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from liveness_core.runtime.bound import run_options
from liveness_core.runtime.options import NetworkError, TensorSpec
from liveness_core.runtime.providers import CPU

FREE_SIDE = 64
"""What a free dimension is taken for, apart from the first one, the batch: a multiple of every detector's stride."""
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Placement:
    """On which provider how many nodes ran; a provider that compiles a part of the network runs it as one node."""

    nodes: dict[str, int]
    """By ONNX Runtime's name of the provider."""
    on_cpu: tuple[str, ...]
    """Kinds of the nodes that ran on the CPU, e.g. `Softmax`."""

    def __str__(self) -> str:
        """For messages: how many nodes the CPU ran, and which."""
        kinds = ", ".join(self.on_cpu[:_MOST_NAMED]) + (", …" if len(self.on_cpu) > _MOST_NAMED else "")
        return f"{self.nodes.get(CPU, 0)} of {sum(self.nodes.values())} nodes run on the CPU ({kinds})"


def zeros(inputs: Sequence[TensorSpec], images: int = 1) -> dict[str, NDArray[Any]]:
    """A batch of zeros, by the names of the inputs."""
    return {
        spec.name: np.zeros(
            [size if size is not None else FREE_SIDE if place else images for place, size in enumerate(spec.shape)],
            spec.dtype,
        )
        for spec in inputs
    }


def profiled(session: ort.InferenceSession, inputs: Sequence[TensorSpec]) -> Placement:
    """Run a session that was made with profiling on, once, and end the profile.

    Raises:
        NetworkError: the run failed, or its profile cannot be read.
    """
    try:
        session.run(None, zeros(inputs), run_options(None))
    except Exception as error:  # ONNX Runtime raises half a dozen unrelated classes
        raise NetworkError(f"the first run failed: {str(error).splitlines()[0]}") from error
    finally:
        file = Path(session.end_profiling())
    try:
        return placed(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise NetworkError(f"ONNX Runtime's profile cannot be read: {error}") from error
    finally:
        file.unlink(missing_ok=True)


def placed(events: Sequence[dict[str, Any]]) -> Placement:
    """The placement that the events of a profile tell.

    Nodes that compute shapes are left out: ONNX Runtime runs them on the CPU by design, beside any provider.
    """
    ran = [
        (event["args"]["provider"], event["args"].get("op_name", "?"))
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider") and not _computes_a_shape(event["args"])
    ]
    return Placement(
        dict(Counter(provider for provider, _ in ran)),
        tuple(sorted({kind for provider, kind in ran if provider == CPU})),
    )


def _computes_a_shape(node: dict[str, Any]) -> bool:
    """Whether all that a node gives are integers in one dimension at most."""
    results = [(kind, shape) for each in node.get("output_type_shape", []) for kind, shape in each.items()]
    return bool(results) and all("int" in kind and len(shape) <= 1 for kind, shape in results)
