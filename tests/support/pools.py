"""Pools of workers whose decoders obey the upload (`hostile_worker`), for tests in one event loop."""

from liveness_core.detection import DetectorSpec
from liveness_core.quality import QualityGates
from liveness_core.video import VideoLimits
from liveness_core.views import View
from liveness_service.decoding.image import ImageLimits
from liveness_service.submission import Endpoint, FacePolicy
from liveness_service.workers.messages import PreparationSpec
from liveness_service.workers.pool import WorkerPool
from liveness_service.workers.preparer import InWorkers
from liveness_service.workers.worker import PoolLimits

SPEC = PreparationSpec(
    detector=DetectorSpec(),
    gates=QualityGates(),
    views=(View(size=160),),
    clip=None,
    image_limits=ImageLimits(1_000_000),
    video_limits=VideoLimits(),
    max_faces=2,
    min_clip_seconds=0.5,
)


class Pool:
    """A pool whose decoders obey the upload, and the reasons for which its workers ended."""

    def __init__(self, server, **limits):
        self.ends = []
        given = {"size": 1, "memory_bytes": 1 << 30, "deadline_s": 2.0} | limits
        self.pool = WorkerPool("photos", PoolLimits(**given), server, lambda _, reason: self.ends.append(reason))

    def prepare(self, content, spec=SPEC):
        return InWorkers(self.pool, spec, Endpoint.PHOTO, lambda document: document.photo)(content, FacePolicy.SINGLE)
