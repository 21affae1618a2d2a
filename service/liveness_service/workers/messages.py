"""What passes between the service and a worker: JSON of a fixed form, and pixels. Nothing that could run as code.

A worker that a file has taken over can send what it likes. So its answers are checked like a stranger's: their form,
their length, and that the crops are where they must be.
"""

from itertools import accumulate

from pydantic import BaseModel, ConfigDict, Field

from liveness_core.bundle import Manifest
from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.quality import QualityGates
from liveness_core.video import VideoLimits
from liveness_core.views import View
from liveness_service.decoding.clip import MEMORY_OF_A_PIXEL
from liveness_service.decoding.image import ImageLimits
from liveness_service.observability.remote import RemoteTimes
from liveness_service.scoring.prepared import ClipFacts, PhotoFacts
from liveness_service.submission import Endpoint, FacePolicy

MAX_MESSAGE_BYTES = 64 << 10
"""Most bytes of a message; documents and pixels pass through shared memory."""
MEMORY_OF_ANY_JOB = 128 << 20
"""Memory, in bytes, that a worker may take for any upload beside what the upload's header promises: for what is read
before the header's end, and for finding faces. A photo takes up to 30 MB for this."""
MEMORY_AT_ONCE = 128 << 20
"""Most memory that a photo may promise to be decoded while others are. Those that promise more wait for each other."""
MAX_DOCUMENT_BYTES = 1 << 20
"""Most bytes of an answer's document. That of a photo with 100 faces has 60 kB, that of a traced clip 100 kB."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class PreparationSpec(_Part):
    """All that decides how uploads are prepared for one model."""

    detector: DetectorSpec
    detector_model: str | None = None
    """Model file or pack of the detector, where it needs one."""
    gates: QualityGates
    views: tuple[View, ...]
    clip: ClipSpec | None
    """None if the model scores photos only."""
    image_limits: ImageLimits
    video_limits: VideoLimits
    max_faces: int
    min_clip_seconds: float

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        detector: DetectorSpec,
        detector_model: str | None,
        image_limits: ImageLimits,
        video_limits: VideoLimits,
        max_faces: int,
        min_clip_seconds: float,
    ) -> "PreparationSpec":
        """The settings for the bundle with this manifest."""
        return cls(
            detector=detector,
            detector_model=detector_model,
            gates=manifest.quality_gates,
            views=manifest.views,
            clip=None if manifest.temporal is None else manifest.temporal.clip,
            image_limits=image_limits,
            video_limits=video_limits,
            max_faces=max_faces,
            min_clip_seconds=min_clip_seconds,
        )

    @property
    def crop_ends(self) -> tuple[int, ...]:
        """Where the crop of each view ends, in bytes from the start of its face: they lie one after the other."""
        return tuple(accumulate(view.size**2 * 3 for view in self.views))

    @property
    def face_bytes(self) -> int:
        """Bytes of the crops of a face."""
        return self.crop_ends[-1]

    @property
    def clip_bytes(self) -> int:
        """Most memory that decoding a clip may take."""
        return MEMORY_OF_A_PIXEL * self.video_limits.max_pixels

    def most_crops(self, endpoint: Endpoint) -> int:
        """Most faces with crops of one upload."""
        if endpoint is Endpoint.PHOTO:
            return self.max_faces
        return 0 if self.clip is None else self.clip.frames


class Task(_Part):
    """What a worker is to do. The upload's memory comes with it, and the memory for the answer."""

    spec: PreparationSpec
    endpoint: Endpoint | None = None
    """Where the upload was sent; None if there is none, and the worker is only to make its detector ready."""
    faces: FacePolicy = FacePolicy.SINGLE
    traced: bool = False
    """Whether to send the spans of the stages."""
    cpu_s: int = Field(ge=1)
    """Most processor time, in seconds; beyond, the kernel ends the worker."""
    memory_bytes: int = Field(default=0, ge=0)
    """Most memory that the upload may promise; `MEMORY_OF_ANY_JOB` comes on top."""

    @property
    def crops_room(self) -> int:
        """Bytes at the start of the answer's memory that are for crops; the document comes after them."""
        return 0 if self.endpoint is None else self.spec.most_crops(self.endpoint) * self.spec.face_bytes

    @property
    def room(self) -> int:
        """Bytes of the answer's memory."""
        return self.crops_room + MAX_DOCUMENT_BYTES


class Done(_Part):
    """A worker's message: the answer is in the memory."""

    document_bytes: int = Field(ge=2, le=MAX_DOCUMENT_BYTES)


class Failure(_Part):
    """An error of the service that the upload led to."""

    code: str
    detail: str
    members: dict[str, str | float] = {}


class Document(_Part):
    """A worker's answer: facts of a photo or of a clip, a failure or a fault, or the memory that it wants. None of them
    if there was no upload.
    """

    photo: PhotoFacts | None = None
    clip: ClipFacts | None = None
    failure: Failure | None = None
    fault: str | None = None
    """Traceback of an error that nobody expected, or of a failure that the log should explain."""
    wants: int | None = None
    """More memory than the task allows, which the upload promises to take; it was not decoded."""
    times: RemoteTimes = RemoteTimes()
