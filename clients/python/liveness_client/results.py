"""Typed answers. Fields that a newer service adds are ignored here, and are in `raw`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

Json = Mapping[str, Any]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright picture."""


class Verdict(StrEnum):
    """What was decided. `undetermined` is an answer and never a pass."""

    LIVE = "live"
    SPOOF = "spoof"
    UNDETERMINED = "undetermined"

    @classmethod
    def _missing_(cls, _value: object) -> "Verdict":
        return cls.UNDETERMINED  # what a newer service may say is no pass


class SessionState(StrEnum):
    """Where a capture session stands."""

    WAITING = "waiting"
    SCORING = "scoring"
    SCORED = "scored"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """A state of a newer service."""

    @classmethod
    def _missing_(cls, _value: object) -> "SessionState":
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class Face:
    """One face."""

    box: Box
    landmarks: tuple[tuple[float, float], ...]
    """Eye at the picture's left, eye at its right, nose tip, mouth corners likewise; pixels."""
    score: float | None
    """Probability of live, in [0, 1]; None where the face was not scored."""
    verdict: Verdict
    reasons: tuple[str, ...]
    quality: Mapping[str, float]
    heatmap_png: str | None = None
    """PNG in base64, if it was asked for."""

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read a face of an answer."""
        return cls(
            box=_box(given["box"]),
            landmarks=tuple((x, y) for x, y in given["landmarks"]),
            score=given["score"],
            verdict=Verdict(given["verdict"]),
            reasons=tuple(given["reasons"]),
            quality=given["quality"],
            heatmap_png=given.get("heatmap_png"),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for a photo or a clip."""

    request_id: str
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is undetermined; `reasons()` of a client says what each means and what to tell the person."""
    score: float | None
    """Probability of live, in [0, 1]; None where the verdict is undetermined."""
    threshold: float
    """A score at or above it is live."""
    operating_point: str
    faces: tuple[Face, ...]
    width: int
    """Of the upright picture, in pixels; 0 where none was decoded."""
    height: int
    model: str
    """Name and version of the model, e.g. `default 6`."""
    timings_ms: Mapping[str, float]
    raw: Json = field(repr=False)
    """The whole answer."""

    @property
    def is_live(self) -> bool:
        """Whether the verdict is `live`. Anything else is no pass."""
        return self.verdict is Verdict.LIVE

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read an answer."""
        return cls(**_fields(given))


@dataclass(frozen=True, slots=True)
class PhotoAnswer(Answer):
    """The answer for a photo."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a clip that was used, or that speaks against it."""

    index: int
    time_s: float
    score: float | None
    box: Box | None
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read a frame of an answer."""
        box = None if given["box"] is None else _box(given["box"])
        return cls(given["index"], given["time_s"], given["score"], box, tuple(given["reasons"]))


@dataclass(frozen=True, slots=True)
class ClipAnswer(Answer):
    """The answer for a clip."""

    frames: tuple[Frame, ...] = ()
    frame_score: float | None = None
    """Mean of the frames' scores; for comparison only."""
    frames_used: int = 0
    duration_s: float = 0.0
    fps: float = 0.0

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read an answer."""
        clip = given["clip"]
        return cls(
            **_fields(given),
            frames=tuple(Frame.of(frame) for frame in given["frames"]),
            frame_score=given["frame_score"],
            frames_used=clip["frames_used"],
            duration_s=clip["duration_s"],
            fps=clip["fps"],
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason means, in English."""

    reason: str
    text: str
    """For logs."""
    advice: str
    """For the person before the camera."""


@dataclass(frozen=True, slots=True)
class Session:
    """A new capture session: `token` and `upload_url` are for the browser, `session_id` stays with you."""

    session_id: str
    token: str = field(repr=False)
    kind: str
    expires_at: datetime
    upload_url: str
    """A path, to be put behind the address by which browsers reach the service."""

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read an answer."""
        expires_at = datetime.fromisoformat(given["expires_at"])
        return cls(given["session_id"], given["token"], given["kind"], expires_at, given["upload_url"])


@dataclass(frozen=True, slots=True)
class SessionResult:
    """Where a session stands, and its verdict, which is given once."""

    session_id: str
    state: SessionState
    result: PhotoAnswer | ClipAnswer | None
    """With `scored`; None otherwise."""
    problem: Json | None
    """With `failed`: code, status, title and detail."""

    @property
    def is_live(self) -> bool:
        """Whether there is a verdict, and it is `live`."""
        return self.state is SessionState.SCORED and self.result is not None and self.result.is_live

    @classmethod
    def of(cls, given: Json) -> Self:
        """Read an answer."""
        answer = ClipAnswer if given["kind"] == "clip" else PhotoAnswer
        result = None if given["result"] is None else answer.of(given["result"])
        return cls(given["session_id"], SessionState(given["state"]), result, given.get("problem"))


def _fields(given: Json) -> dict[str, Any]:
    return {
        "request_id": given["request_id"],
        "verdict": Verdict(given["verdict"]),
        "reasons": tuple(given["reasons"]),
        "score": given["score"],
        "threshold": given["threshold"],
        "operating_point": given["operating_point"],
        "faces": tuple(Face.of(face) for face in given["faces"]),
        "width": given["image"]["width"],
        "height": given["image"]["height"],
        "model": f"{given['model']['name']} {given['model']['version']}",
        "timings_ms": given["timings_ms"],
        "raw": given,
    }


def _box(given: Any) -> Box:
    x1, y1, x2, y2 = given
    return x1, y1, x2, y2
