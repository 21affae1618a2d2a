"""Finds the faces of a photo in no more pixels than their crops need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liveness_core.alignment import face_size
from liveness_core.detection import FaceDetector
from liveness_core.types import DetectedFace
from liveness_core.views import View
from liveness_service.decoding.image import ImageLimits
from liveness_service.decoding.scaled import FACTORS, Choice, ScaledDecoder, ScaledImage
from liveness_service.observability.stages import stage

LEAST_SEARCHED_PX: Final = 768
"""Least longer side of a reduced picture that is searched. The default detector searches at most 640 pixels; MTCNN,
which searches up to 1,024, still finds a face of 2.8 % of the side on 816."""
LEAST_CROPPED: Final = 2.0
"""Least side of a crop in the reduced picture, in sides of the encoder's input: areas are averaged once more then, and
the score hardly differs from that of all pixels (0.007 on average). A face that has fewer pixels is decoded a second
time, which costs as much as the first."""
LEAST_FACE_PX: Final = 128
"""Least size of a face in the reduced picture: sharpness is measured at this size."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A photo with its faces."""

    image: ScaledImage
    faces: Sequence[DetectedFace]
    """In pixels of the reduced picture, the largest first."""


def search(
    content: bytes, limits: ImageLimits, detector: FaceDetector, views: Sequence[View], most_shown: int
) -> Searched:
    """Decode a photo and find its faces.

    A large photo is decoded small. If one of the faces that count needs more pixels, the photo is decoded a second
    time, with as many as it needs, and searched again: a face is placed in the pixels that its crop is cut from.

    Raises:
        ServiceError: the content is at fault.
    """
    decoder = ScaledDecoder(content, limits)
    found = _look(decoder, detector, lambda size: _factor(max(size) / LEAST_SEARCHED_PX))
    if found.image.factor == 1:
        return found
    shown = found.faces[:most_shown]
    needed = min((_enough(face, found.image, views) for face in shown), default=found.image.factor)
    return found if needed >= found.image.factor else _look(decoder, detector, lambda _: needed)


def _look(decoder: ScaledDecoder, detector: FaceDetector, choose: Choice) -> Searched:
    with stage("decode"):
        image = decoder.decoded(choose)
    with stage("detect") as span:
        faces = detector.detect(image.picture)
        span.set_attribute("liveness.faces_found", len(faces))
    return Searched(image, faces)


def _enough(face: DetectedFace, image: ScaledImage, views: Sequence[View]) -> int:
    """The factor by which the whole picture may be reduced for this face."""
    height, width = image.picture.shape[:2]
    cropped = min(view.least_side_px(face, width, height) / (LEAST_CROPPED * view.size) for view in views)
    return _factor(image.factor * min(cropped, face_size(face.box) / LEAST_FACE_PX))


def _factor(most: float) -> int:
    """The largest factor that is not above this; 1 if all are."""
    return next((factor for factor in FACTORS if factor <= most), 1)
