"""`GET /v1/models`: which bundles are loaded, and what their manifests say about them."""

from typing import Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from liveness_core.bundle import OperatingPoint, Parity, Provenance, TemporalHead
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.views import View
from liveness_service.api.access import Service, requires
from liveness_service.api.openapi import REFUSED, UNAVAILABLE
from liveness_service.keys import Permission
from liveness_service.scoring.model import Model

router = APIRouter(prefix="/v1", tags=["models"])


class ClipDetails(BaseModel):
    """The temporal head of a bundle."""

    frames: int = Field(description="How many frames of a clip are looked at.")
    temperature: float
    operating_points: dict[str, OperatingPoint]

    @classmethod
    def of(cls, head: TemporalHead) -> Self:
        """Make the details from the temporal head's entry in the manifest."""
        return cls(frames=head.clip.frames, temperature=head.temperature, operating_points=dict(head.operating_points))


class ModelDetails(BaseModel):
    """One loaded bundle."""

    role: str = Field(description="active, canary, shadow or previous.")
    name: str
    version: str
    precision: str
    provider: str = Field(description="What the encoder runs on: cpu, openvino, cuda or tensorrt.")
    providers: dict[str, str] = Field(
        description="The same for each network: encoder, classifier, temporal (with clips), detector."
    )
    parity: Parity | None = Field(description="Drift of this precision against fp32; null for fp32 itself.")
    temperature: float
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    clips: ClipDetails | None = Field(description="How clips are scored; null where the bundle scores photos only.")
    preprocess: PreprocessSpec = Field(description="The crop of the first view.")
    views: list[View] = Field(description="The crops of a face that the encoder takes, each with its rule.")
    detector: DetectorSpec = Field(description="The detector that the bundle was trained with.")
    detector_in_use: str
    quality_gates: QualityGates
    metrics: dict[str, dict[str, float]] = Field(description="Protocol, metric, value; rates in [0, 1].")
    provenance: Provenance

    @classmethod
    def of(cls, role: str, model: Model) -> Self:
        """Make the details of a loaded model and its role."""
        bundle = model.bundle
        manifest = bundle.manifest
        first = manifest.views[0]
        return cls(
            role=role,
            name=manifest.name,
            version=manifest.version,
            precision=bundle.variant.precision,
            provider=bundle.scorer.provider,
            providers=model.providers,
            parity=bundle.variant.parity,
            temperature=manifest.temperature,
            operating_points=dict(manifest.operating_points),
            default_operating_point=manifest.default_operating_point,
            clips=None if manifest.temporal is None else ClipDetails.of(manifest.temporal),
            preprocess=PreprocessSpec(**{name: getattr(first, name) for name in PreprocessSpec.model_fields}),
            views=list(manifest.views),
            detector=manifest.detector,
            detector_in_use=model.detector.name,
            quality_gates=manifest.quality_gates,
            metrics=dict(manifest.metrics),
            provenance=manifest.provenance,
        )


class Models(BaseModel):
    """The loaded bundles. The first one decides, except for a canary's share of the requests."""

    models: list[ModelDetails]


@router.get(
    "/models",
    summary="What scores here?",
    responses=REFUSED | UNAVAILABLE,
    dependencies=[Depends(requires(Permission.SCORE, Permission.OPERATIONS))],
)
async def list_models(service: Service) -> Models:
    """Describe the loaded models."""
    service.model()  # raises an error with the reason if no model is loaded
    loaded = service.registry.roles.by_role()
    return Models(models=[ModelDetails.of(role, engine.model) for role, engine in loaded])
