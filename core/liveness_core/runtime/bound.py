"""Runs whose tensors lie in the device's memory from one run to the next, for batches of a few fixed sizes.

Tensors of a plain run are allocated on the device and copied there each time. Here each size of a batch has its own,
and a batch is filled up to the next size. With CUDA graphs the work of a size is recorded once and then started as a
whole.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from liveness_core.runtime.options import TensorSpec

_GRAPH_ID = "gpu_graph_id"
NO_GRAPH = "-1"
"""The number of a graph that stands for none."""


def sizes_up_to(most: int) -> tuple[int, ...]:
    """The sizes of batches: powers of two up to and including the first one that is not below `most`."""
    return tuple(1 << power for power in range((most - 1).bit_length() + 1))


def run_options(graph: int | None) -> ort.RunOptions:
    """The options of a run that is, or replays, the graph of this number; None for a run without a graph."""
    chosen = ort.RunOptions()
    chosen.add_run_config_entry(_GRAPH_ID, NO_GRAPH if graph is None else str(graph))
    return chosen


@dataclass(frozen=True, slots=True)
class _Bound:
    """The tensors of one size of a batch."""

    feed: ort.OrtValue
    results: tuple[ort.OrtValue, ...]
    binding: Any
    options: ort.RunOptions | None
    room: NDArray[Any]
    """The batch before it goes to the device; rows that are not filled keep what they had, which is harmless."""


class BoundRuns:
    """Runs a network with one input of shape (N, …) and outputs of known shapes (N, …). One run at a time."""

    def __init__(
        self,
        session: ort.InferenceSession,
        source: TensorSpec,
        results: Sequence[TensorSpec],
        *,
        device: str,
        device_id: int = 0,
        most: int,
        graphs: bool = False,
    ) -> None:
        """Prepare; the tensors of a size are made when it is first needed.

        Args:
            session: the network.
            source: its input.
            results: the outputs that runs compute, all of them each time.
            device: `cuda`, or `cpu`.
            device_id: its number.
            most: largest batch.
            graphs: record and replay CUDA graphs.
        """
        self._session = session
        self._source = source
        self._results = tuple(results)
        self._device = device
        self._device_id = device_id
        self._sizes = sizes_up_to(most)
        self._graphs = graphs
        self._bound: dict[int, _Bound] = {}
        self._lock = threading.Lock()

    @property
    def most(self) -> int:
        """Largest batch."""
        return self._sizes[-1]

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Compute the results for a batch of at most `most`."""
        size = next(size for size in self._sizes if size >= len(batch))
        with self._lock:
            bound = self._bound.get(size)
            if bound is None:
                bound = self._bound[size] = self._make(size)
            bound.room[: len(batch)] = batch
            bound.feed.update_inplace(bound.room)
            self._session.run_with_iobinding(bound.binding, bound.options)
            return [np.array(value.numpy()[: len(batch)]) for value in bound.results]

    def _make(self, size: int) -> _Bound:
        room = np.zeros((size, *self._shape(self._source)), self._source.dtype)
        feed = ort.OrtValue.ortvalue_from_numpy(room, self._device, self._device_id)
        results = tuple(
            ort.OrtValue.ortvalue_from_shape_and_type(
                [size, *self._shape(spec)], np.dtype(spec.dtype), self._device, self._device_id
            )
            for spec in self._results
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._source.name, feed)
        for spec, value in zip(self._results, results, strict=True):
            binding.bind_ortvalue_output(spec.name, value)
        return _Bound(feed, results, binding, run_options(size) if self._graphs else None, room)

    @staticmethod
    def _shape(spec: TensorSpec) -> list[int]:
        return [size for size in spec.shape[1:] if size is not None]


def can_be_bound(specs: Sequence[TensorSpec]) -> bool:
    """Whether only the batch of these tensors is free."""
    return all(spec.shape and spec.shape[0] is None and None not in spec.shape[1:] for spec in specs)
