"""The query parameters and the answers of the scoring routes."""

import base64
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from liveness_core.reasons import Reason
from liveness_core.types import Box, Quality
from liveness_service.results import (
    ClipResult,
    FaceResult,
    FrameResult,
    ImageResult,
    Result,
    Timings,
    Verdict,
)
from liveness_service.scoring.model import Model
from liveness_service.submission import FacePolicy, ScoreOptions

Unit = Annotated[float, Field(ge=0, le=1)]
BoxOut = Annotated[
    tuple[float, float, float, float], Field(description="[x1, y1, x2, y2] in pixels of the upright image.")
]
PointOut = tuple[float, float]


class LivenessQuery(BaseModel):
    """Query parameters; an unknown one is refused, since a misspelt operating point must not go unnoticed."""

    model_config = ConfigDict(extra="forbid")

    operating_point: str | None = Field(
        default=None,
        max_length=100,
        description="Name of a threshold of the bundle (see /v1/models); its default one if absent.",
    )
    faces: FacePolicy = Field(
        default=FacePolicy.SINGLE,
        description="`single`: more than one face is undetermined. `largest`: the others are ignored. "
        "`all`: each face is scored, and the image is live only if all are.",
    )
    explain: bool = Field(
        default=False, description="Adds a heat map of what spoke for live (blue) or spoof (red): `heatmap_png`."
    )

    def options(self) -> ScoreOptions:
        """The parameters as the record that the pipelines take."""
        return ScoreOptions(self.operating_point, self.faces, self.explain)


class ClipQuery(BaseModel):
    """Query parameters of a clip; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid")

    operating_point: str | None = Field(
        default=None,
        max_length=100,
        description="Name of a threshold of the bundle's temporal head (see /v1/models); its default one if absent.",
    )
    faces: Literal[FacePolicy.SINGLE, FacePolicy.LARGEST] = Field(
        default=FacePolicy.SINGLE,
        description="`single`: a second face in the clip is undetermined. `largest`: the others are ignored.",
    )
    explain: bool = Field(
        default=False, description="Adds a heat map of what spoke for live (blue) or spoof (red) in the middle frame."
    )

    def options(self) -> ScoreOptions:
        """The parameters as the record that the pipelines take."""
        return ScoreOptions(self.operating_point, self.faces, self.explain)


class QualityOut(BaseModel):
    """What was measured of the face before scoring."""

    face_px: float = Field(description="Shorter side of the face's box, pixels.")
    sharpness: Unit = Field(description="0 no detail, 1 crisp.")
    brightness: Unit = Field(description="Mean luma, 0 black to 1 white.")
    yaw_deg: float = Field(description="Turn of the head; positive: the nose points to the image's right.")
    pitch_deg: float = Field(description="Nod of the head; positive: the nose points up.")
    roll_deg: float = Field(description="Tilt of the head; positive: clockwise on the screen.")
    noise: float = Field(description="Noise in smooth parts of the face at the size that the model sees, grey levels.")
    grain: float = Field(description="Noise between neighbouring pixels, at the size that the model sees, grey levels.")
    blockiness: float = Field(description="Edges of a coder's blocks: 0 none; 1 twice as large as steps inside them.")

    @classmethod
    def of(cls, quality: Quality) -> Self:
        """Make the answer's entry from the measured quality; values are rounded."""
        return cls(
            face_px=round(quality.face_px, 1),
            sharpness=round(quality.sharpness, 3),
            brightness=round(quality.brightness, 3),
            yaw_deg=round(quality.yaw_deg, 1),
            pitch_deg=round(quality.pitch_deg, 1),
            roll_deg=round(quality.roll_deg, 1),
            noise=round(quality.noise, 3),
            grain=round(quality.grain, 3),
            blockiness=round(quality.blockiness, 3),
        )


class FaceOut(BaseModel):
    """One face."""

    box: BoxOut
    landmarks: tuple[PointOut, PointOut, PointOut, PointOut, PointOut] = Field(
        description="Eye at the image's left, eye at its right, nose tip, mouth corners likewise; pixels."
    )
    detection_confidence: Unit = Field(description="The face detector's, on its own scale.")
    score: Unit | None = Field(description="Probability of live; null where the face was not scored.")
    verdict: Verdict
    reasons: list[Reason] = Field(description="Why the verdict is undetermined; empty otherwise.")
    quality: QualityOut
    heatmap_png: str | None = Field(
        default=None,
        description="With `explain=true`: PNG in base64, the scored crop with its class activation map. Blue places "
        "speak for live, red ones for spoof. Zero, without colour, is the threshold of the operating point; the colour "
        "is strongest from 6 log-odds on, in every picture. The mean over the map is the log-odds of the score minus "
        "those of the threshold.",
    )

    @classmethod
    def of(cls, result: FaceResult) -> Self:
        """Make the answer's entry for one face; coordinates are rounded."""
        heatmap = result.heatmap_png
        left, right, nose, mouth_left, mouth_right = (_rounded(point) for point in result.face.landmarks)
        return cls(
            box=_box(result.face.box),
            landmarks=(left, right, nose, mouth_left, mouth_right),
            detection_confidence=round(result.face.confidence, 4),
            score=result.score,
            verdict=result.verdict,
            reasons=list(result.reasons),
            quality=QualityOut.of(result.quality),
            heatmap_png=None if heatmap is None else base64.b64encode(heatmap).decode("ascii"),
        )


class ImageOut(BaseModel):
    """The upright image, or the upright frames."""

    width: int
    height: int


class ModelOut(BaseModel):
    """The model that scored."""

    name: str
    version: str


class TimingsOut(BaseModel):
    """Milliseconds in each stage."""

    decode: float
    detect: float
    align: float
    queue: float
    infer: float
    total: float

    @classmethod
    def of(cls, timings: Timings) -> Self:
        """Make the answer's timings; milliseconds are rounded."""
        return cls(**{name: round(getattr(timings, name), 2) for name in cls.model_fields})


class _Answer(BaseModel):
    """What the answers for images and clips have in common."""

    request_id: str
    verdict: Verdict = Field(description="`undetermined` is an answer, never a pass: `reasons` say what to fix.")
    reasons: list[Reason] = Field(description="Why the verdict is undetermined; empty otherwise.")
    score: Unit | None = Field(description="Probability of live; null where the verdict is undetermined.")
    threshold: Unit = Field(description="A score at or above it is live.")
    operating_point: str
    faces: list[FaceOut]
    image: ImageOut
    model: ModelOut
    timings_ms: TimingsOut


def _common(request_id: str, result: Result, model: Model) -> dict[str, Any]:
    """The values for the fields of `_Answer`, without `faces`."""
    manifest = model.bundle.manifest
    return {
        "request_id": request_id,
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "score": result.score,
        "threshold": result.threshold,
        "operating_point": result.operating_point,
        "image": ImageOut(width=result.width, height=result.height),
        "model": ModelOut(name=manifest.name, version=manifest.version),
        "timings_ms": TimingsOut.of(result.timings_ms),
    }


class LivenessResponse(_Answer):
    """The verdict on one image."""

    @classmethod
    def of(cls, request_id: str, result: ImageResult, model: Model) -> Self:
        """Make the answer for one image."""
        return cls(
            **_common(request_id, result, model),
            faces=[FaceOut.of(face) for face in result.faces],
        )


class ClipOut(BaseModel):
    """Measures of the clip, and how many of its frames could be scored."""

    frames_used: int = Field(description="Of the frames that were looked for, how many can be scored.")
    duration_s: float = Field(description="By the times of its frames; 0 where they have none.")
    fps: float = Field(description="Mean number of frames a second; 0 where no times are known.")
    width: int = Field(description="Of the upright frames; 0 where none was decoded.")
    height: int


class ClipFrameOut(BaseModel):
    """A frame of the clip that was used, or that speaks against it."""

    index: int = Field(description="Number in the clip, from 0.")
    time_s: float = Field(description="When it is shown, after the first frame.")
    score: Unit | None = Field(description="As of a photo; null where the clip was not scored.")
    box: BoxOut | None
    reasons: list[Reason] = Field(
        description="Why this frame cannot be scored, or what it shows against the clip; else empty."
    )

    @classmethod
    def of(cls, result: FrameResult) -> Self:
        """Make the answer's entry for one frame; coordinates and times are rounded."""
        return cls(
            index=result.index,
            time_s=round(result.time_s, 3),
            score=result.score,
            box=None if result.box is None else _box(result.box),
            reasons=list(result.reasons),
        )


class ClipResponse(_Answer):
    """The verdict on one clip. `score` is the clip's; `faces` has the face in its middle, with the clip's verdict."""

    clip: ClipOut
    frames: list[ClipFrameOut]
    frame_score: Unit | None = Field(description="Mean of the frames' scores; null where the verdict is undetermined.")

    @classmethod
    def of(cls, request_id: str, result: ClipResult, model: Model) -> Self:
        """Make the answer for one clip."""
        return cls(
            **_common(request_id, result, model),
            faces=[] if result.face is None else [FaceOut.of(result.face)],
            clip=ClipOut(
                frames_used=result.frames_used,
                duration_s=round(result.duration_s, 3),
                fps=round(result.fps, 3),
                width=result.width,
                height=result.height,
            ),
            frames=[ClipFrameOut.of(frame) for frame in result.frames],
            frame_score=result.frame_score,
        )


def answer_of(request_id: str, result: Result, model: Model) -> LivenessResponse | ClipResponse:
    """Make the API's answer from the result of a submission."""
    if isinstance(result, ClipResult):
        return ClipResponse.of(request_id, result, model)
    return LivenessResponse.of(request_id, result, model)


def _rounded(point: PointOut) -> PointOut:
    return round(point[0], 1), round(point[1], 1)


def _box(box: Box) -> tuple[float, float, float, float]:
    return round(box.x1, 1), round(box.y1, 1), round(box.x2, 1), round(box.y2, 1)
