"""Which frames of a clip are used, and what the frames between them say: one rule, for training and for the service."""

from liveness_core.clips.glances import (
    Glance,
    Step,
    follow,
    glance_of,
    glance_positions,
    is_doubtful,
    is_picture_exchanged,
)
from liveness_core.clips.sampling import Sampled, sample
from liveness_core.clips.spec import ClipSpec
from liveness_core.clips.stills import is_still

__all__ = [
    "ClipSpec",
    "Glance",
    "Sampled",
    "Step",
    "follow",
    "glance_of",
    "glance_positions",
    "is_doubtful",
    "is_picture_exchanged",
    "is_still",
    "sample",
]
