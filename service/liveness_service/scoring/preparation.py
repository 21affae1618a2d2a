"""Makes crops of uploads: decodes them, finds the faces and cuts them out. Strangers' bytes are read here only.

What comes out depends on the settings of the preparation, the content and the face policy alone, so it does not matter
in which thread or process it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from liveness_core.alignment import LevelCrops
from liveness_core.detection.rotated import is_rotated
from liveness_core.detection.scaling import enlarge_face
from liveness_core.quality import measure, refusals
from liveness_core.types import Box, DetectedFace, FaceCrops
from liveness_core.views import cut_views
from liveness_service.decoding.image import ImageLimits
from liveness_service.decoding.scaled import ScaledImage
from liveness_service.observability.stages import stage
from liveness_service.results import FACE_ROTATED
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.prepared import Candidate, Facts_co, PhotoFacts, Prepared
from liveness_service.scoring.search import search
from liveness_service.scoring.verdict import refusal_of_count
from liveness_service.submission import FacePolicy


class Preparation(Protocol[Facts_co]):
    """Makes crops of uploads of one kind."""

    def prepare(self, content: bytes, faces: FacePolicy, unwanted: Callable[[], bool]) -> Prepared[Facts_co]:
        """Make crops of an uploaded file. It may stop early once `unwanted` returns True.

        Raises:
            ServiceError: the content is at fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class PhotoPreparation:
    """Prepares photos."""

    finder: Finder
    limits: ImageLimits
    max_faces: int
    """Most faces of a photo that are shown."""

    def prepare(self, content: bytes, faces: FacePolicy, unwanted: Callable[[], bool]) -> Prepared[PhotoFacts]:  # noqa: ARG002 (none of its steps can be interrupted)
        """See `Preparation`."""
        most_shown = 1 if faces is FacePolicy.LARGEST else self.max_faces
        seen = search(content, self.limits, self.finder.detector, self.finder.views, most_shown)
        refusal = refusal_of_count(len(seen.faces), faces, self.max_faces)
        with stage("align"):
            judged = [self._judged(seen.image, face, scored=refusal is None) for face in seen.faces[:most_shown]]
        return Prepared(
            PhotoFacts(seen.image.width, seen.image.height, refusal, tuple(candidate for candidate, _ in judged)),
            tuple(crops for _, crops in judged if crops is not None),
        )

    def rehearse(self) -> None:
        """Prepare a photo that shows nothing and judge a face where none is: the first time takes longer."""
        picture = np.full((480, 640, 3), 128, np.uint8)
        _, jpeg = cv2.imencode(".jpg", picture)
        self.prepare(jpeg.tobytes(), FacePolicy.SINGLE, lambda: False)
        image = ScaledImage(picture, 1, picture.shape[1], picture.shape[0])
        eyes_and_mouth = ((270.0, 200.0), (370.0, 200.0), (320.0, 255.0), (280.0, 310.0), (360.0, 310.0))
        face = DetectedFace(Box(220.0, 120.0, 420.0, 380.0), eyes_and_mouth, 1.0)
        self._judged(image, face, scored=True)
        cut_views(self.finder.views, picture, face)

    def _judged(self, image: ScaledImage, face: DetectedFace, *, scored: bool) -> tuple[Candidate, FaceCrops | None]:
        shared = LevelCrops(image.picture, face)
        quality = measure(image.picture, face, shared)
        if image.factor > 1:
            quality = replace(quality, face_px=quality.face_px * image.factor)
        reasons = refusals(quality, self.finder.gates)
        crops = None
        if scored and not reasons and is_rotated(self.finder.detector, image.picture, face):
            reasons = (FACE_ROTATED,)
        if scored and not reasons:
            crops = cut_views(self.finder.views, image.picture, face, shared)
        return Candidate(enlarge_face(face, image.factor), quality, reasons, crops is not None), crops
