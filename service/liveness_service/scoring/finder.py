"""What a model needs to find faces: its detector, the limits of quality, and the crops that it takes."""

from dataclasses import dataclass

from liveness_core.bundle import Manifest
from liveness_core.detection import FaceDetector
from liveness_core.quality import QualityGates
from liveness_core.views import View


@dataclass(frozen=True, slots=True)
class Finder:
    """Says how one model's faces are found, judged and cut out."""

    detector: FaceDetector
    gates: QualityGates
    """Limits beyond which a face is refused."""
    views: tuple[View, ...]
    """The crops of a face that the model takes."""

    @classmethod
    def of(cls, manifest: Manifest, detector: FaceDetector) -> "Finder":
        """The finder for the bundle with this manifest."""
        return cls(detector, manifest.quality_gates, manifest.views)
