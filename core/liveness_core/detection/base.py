"""The interface of every face detector, and its errors."""

from typing import Protocol

from liveness_core.types import DetectedFace, Picture


class FaceDetector(Protocol):
    """Finds faces. Implementations are safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """The name that settings and bundles choose it by."""
        ...

    @property
    def provider(self) -> str:
        """What its networks run on, e.g. `cpu` or `cuda`."""
        ...

    def detect(self, picture: Picture, *, least_share: float = 0.0) -> list[DetectedFace]:
        """Find the faces of an upright RGB picture, largest first; an empty list if there is none.

        Args:
            picture: shape (H, W, 3).
            least_share: faces smaller than this share of the picture's shorter side need not be found. Some detectors
                are faster for it.
        """
        ...


class DetectorUnavailableError(RuntimeError):
    """A detector's package or weights are missing or unusable; the message says what to check."""


class DetectorModelError(DetectorUnavailableError):
    """No model file was given, or there is none at the path given. Whoever gave it knows which setting to check."""


def largest_first(faces: list[DetectedFace]) -> list[DetectedFace]:
    """Sort faces as detectors report them: the largest box first."""
    return sorted(faces, key=lambda face: face.box.area, reverse=True)
