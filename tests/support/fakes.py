"""Stand-ins behind the service's own Protocols: a detector that is told where faces are, bundles in memory."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from liveness_core.bundle import Bundle
from liveness_core.types import Box, DetectedFace, Picture
from liveness_service.errors import ModelUnavailableError
from liveness_service.registry.engine import Engine, Threads
from liveness_service.registry.store import Available
from liveness_service.scoring.model import Model
from liveness_service.settings import Settings

# Where the astronaut's face is.
BOX = (178.0, 59.0, 268.0, 173.0)
POINTS = np.array([[204.0, 101.0], [247.0, 104.0], [225.0, 129.0], [202.0, 140.0], [245.0, 142.0]])


def face(*, dx=0.0, dy=0.0, scale=1.0, turn_deg=0.0, confidence=0.99) -> DetectedFace:
    """The astronaut's face, moved, grown about its centre, and turned in the picture."""
    x1, y1, x2, y2 = BOX
    centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([dx, dy])
    points = (POINTS - centre) @ turn.T * scale + centre + shift
    corner = (np.array([x1, y1]) - centre) * scale + centre + shift
    opposite = (np.array([x2, y2]) - centre) * scale + centre + shift
    return DetectedFace(Box(*corner, *opposite), tuple(map(tuple, points.tolist())), confidence)


class FakeDetector:
    """Finds the faces that it is given, and keeps the pictures that it was shown."""

    name = "fake"
    provider = "cpu"

    def __init__(self, faces: Sequence[DetectedFace] = ()):
        self.faces = list(faces)
        self.pictures: list[Picture] = []

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:
        self.pictures.append(picture)
        return list(self.faces)


def renamed(bundle: Bundle, **changes: Any) -> Bundle:
    """A loaded bundle whose manifest says something else."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


class FakeSource:
    """Engines of bundles that are in memory; a reference without one is at fault."""

    has_store = True

    def __init__(self, bundles: dict[str | None, Bundle]):
        self.bundles = bundles
        self.loaded: list[str | None] = []
        self.providers: list[str | None] = []
        self.started: list[tuple[str | None, bool]] = []
        self.engines: list[Engine] = []
        self.closed = False
        threads = ThreadPoolExecutor(1)
        self._threads = Threads(threads, threads)

    def available(self) -> list[Available]:
        return [Available(str(name), bundle.manifest, None) for name, bundle in self.bundles.items()]

    def digest(self, reference: str) -> str:
        return self._bundle(reference).manifest.manifest_sha256

    def load(self, reference: str | None, provider: str | None = None) -> Model:
        self.loaded.append(reference)
        self.providers.append(provider)
        return Model(self._bundle(reference), FakeDetector([face()]))

    def start(self, reference: str | None, model: Model, *, as_shadow: bool) -> Engine:
        self.started.append((reference, as_shadow))
        self.engines.append(Engine(reference, model, Settings(), self._threads))
        return self.engines[-1]

    def close(self) -> None:
        self.closed = True
        self._threads.shutdown()

    def _bundle(self, reference: str | None) -> Bundle:
        try:
            return self.bundles[reference]
        except KeyError as error:
            raise ModelUnavailableError(str(reference), "there is no bundle of this name") from error
