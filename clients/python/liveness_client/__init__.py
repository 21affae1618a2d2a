"""A client of the face liveness service: `pip install 'face-liveness[client]'`, docs/clients.md.

`problems` has an exception for each code of the service, e.g. `problems.RateLimitedError`.
"""

from liveness_client import problems
from liveness_client.client import AsyncLivenessClient, LivenessClient
from liveness_client.errors import ConnectionFailedError, LivenessError, ProblemError, UnexpectedAnswerError
from liveness_client.results import (
    ClipAnswer,
    Face,
    Frame,
    PhotoAnswer,
    Reason,
    Session,
    SessionResult,
    SessionState,
    Verdict,
)

__all__ = [
    "AsyncLivenessClient",
    "ClipAnswer",
    "ConnectionFailedError",
    "Face",
    "Frame",
    "LivenessClient",
    "LivenessError",
    "PhotoAnswer",
    "ProblemError",
    "Reason",
    "Session",
    "SessionResult",
    "SessionState",
    "UnexpectedAnswerError",
    "Verdict",
    "problems",
]
