"""The steps for every upload: prepare it, in a worker or a thread, score its crops in batches, conclude. Photos and
clips have their own way to prepare and to conclude.
"""

import asyncio
import contextvars
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from liveness_core.bundle import Manifest, OperatingPoint
from liveness_core.runtime import NetworkError
from liveness_core.types import FaceCrops
from liveness_service.errors import InvalidParameterError, ScoringFailedError
from liveness_service.observability.stages import StageTimes, stage, timed
from liveness_service.results import ClipResult, ImageResult, Timings
from liveness_service.scoring.batcher import MicroBatcher, Scored
from liveness_service.scoring.heatmap import heatmap_png, speaking_for
from liveness_service.scoring.model import Model
from liveness_service.scoring.preparation import Preparation
from liveness_service.scoring.prepared import Facts, Facts_co, Prepared
from liveness_service.shown import shown
from liveness_service.submission import FacePolicy, ScoreOptions


@dataclass(frozen=True, slots=True)
class ChosenPoint:
    """The operating point that decides."""

    name: str
    threshold: float
    """A score at or above this value, in [0, 1], is live."""


_T = TypeVar("_T")
_R = TypeVar("_R", ImageResult, ClipResult)


class Elsewhere(Protocol[Facts_co]):
    """Prepares uploads of one kind outside of this process."""

    async def __call__(self, content: bytes, faces: FacePolicy) -> Prepared[Facts_co]:
        """Make crops of an uploaded file, and note the times of the stages.

        Raises:
            ServiceError: the content, or the process that read it, is at fault.
        """
        ...


class Pipeline(ABC, Generic[Facts, _R]):
    """Scores uploads of one kind with one model. Its threads and its batcher limit how much runs at the same time."""

    def __init__(
        self,
        model: Model,
        batcher: MicroBatcher,
        threads: ThreadPoolExecutor,
        preparation: Preparation[Facts] | None,
        elsewhere: Elsewhere[Facts] | None,
    ) -> None:
        """Make the pipeline.

        Args:
            model: scores.
            batcher: brings crops to the model.
            threads: run what takes long in this process.
            preparation: prepares uploads in these threads; None if the model scores none of this kind.
            elsewhere: prepares uploads in place of the threads; None if they do it.
        """
        self._model = model
        self._batcher = batcher
        self._threads = threads
        self._preparation = preparation
        self._elsewhere = elsewhere

    @abstractmethod
    def _operating_points(self) -> Mapping[str, OperatingPoint]:
        """The thresholds for uploads of this kind, by name."""

    @abstractmethod
    def _groups(self, prepared: Prepared[Facts]) -> Sequence[Sequence[FaceCrops]]:
        """The faces in groups; the crops of a group are scored in one batch. Empty if nothing can be scored."""

    @abstractmethod
    async def _conclude(
        self, prepared: Prepared[Facts], scored: Sequence[Scored], options: ScoreOptions, point: ChosenPoint
    ) -> _R:
        """Make the result of the scores; `scored` has one entry for each of the prepared groups, in their order."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model's bundle."""
        return self._model.bundle.manifest

    def operating_point(self, name: str | None) -> ChosenPoint:
        """The operating point with this name; the bundle's default one for None.

        Raises:
            ClipsUnsupportedError: this pipeline is for clips, and the bundle scores photos only.
            InvalidParameterError: the bundle has no operating point of this name.
        """
        points = self._operating_points()
        name = self.manifest.default_operating_point if name is None else name
        try:
            return ChosenPoint(name, points[name].threshold)
        except KeyError as error:
            raise InvalidParameterError(
                f"operating_point: the bundle has no {shown(name)!r}, only {', '.join(points)}"
            ) from error

    async def score(self, content: bytes, options: ScoreOptions) -> _R:
        """Score an uploaded file.

        Raises:
            ServiceError: the content, a parameter or the model is at fault.
        """
        started = time.perf_counter()
        point = self.operating_point(options.operating_point)
        with timed() as times:
            prepared = await self._prepared(content, options.faces)
            scored = await asyncio.gather(
                *(self._batcher.submit(group, explain=options.explain) for group in self._groups(prepared))
            )
            result = await self._conclude(prepared, scored, options, point)
        return replace(result, timings_ms=_timings(times, time.perf_counter() - started))

    async def _prepared(self, content: bytes, faces: FacePolicy) -> Prepared[Facts]:
        if self._elsewhere is not None:
            return await self._elsewhere(content, faces)
        assert self._preparation is not None  # there are operating points only where there is one
        prepare, unwanted = self._preparation.prepare, threading.Event()
        try:
            return await self._in_thread(lambda: prepare(content, faces, unwanted.is_set))
        except NetworkError as error:
            self._batcher.report(error)
            raise ScoringFailedError(
                "the face detector failed on this upload, so there is no verdict: try again, and see the service's log"
            ) from error
        finally:
            unwanted.set()  # a thread cannot be cancelled, so it is told to stop by itself

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        # The thread gets the request's ids, its span and its stage times.
        here = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, here.run, work)

    async def _heatmap(
        self, crops: FaceCrops, scored: Scored, index: int, options: ScoreOptions, score: float, threshold: float
    ) -> bytes | None:
        """The heat map of a scored face as PNG; None if the request did not ask for it, or the model has none.

        `score` is what was compared with the `threshold`.
        """
        activation, view = scored.results[index].activation, self.manifest.heatmap_view
        # Activation maps are made for whole batches, so a crop may have one that its own request did not ask for.
        if not options.explain or activation is None or view is None:
            return None
        crop, temperature = crops[view], self.manifest.temperature
        with stage("heatmap"):
            return await self._in_thread(
                lambda: heatmap_png(crop, speaking_for(activation, temperature, score, threshold))
            )


def _timings(times: StageTimes, total_s: float) -> Timings:
    return Timings(
        decode=times.total_ms("decode"),
        detect=times.total_ms("detect"),
        align=times.total_ms("align"),
        queue=times.longest_ms("queue"),
        infer=times.longest_ms("infer") + times.total_ms("temporal"),
        total=1000 * total_s,
    )
