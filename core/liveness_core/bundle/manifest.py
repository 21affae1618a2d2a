"""`bundle.json`: what a bundle says of itself. Training writes it, everyone reads it, both through these models."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from liveness_core.bundle.part import Part
from liveness_core.bundle.reference import ReferenceScores
from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.runtime import TensorSpec

SCHEMA_VERSION = 1

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)]
"""A plain file name: a manifest cannot reach outside its folder."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Precision = Literal["fp32", "fp16", "int8"]


class NetworkFile(Part):
    """One ONNX file."""

    file: FileName
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Parity(Part):
    """How far a variant is from the fp32 network that was trained, measured on real crops."""

    measured_on: str
    images: int = Field(ge=1)
    mean_score_drift: float = Field(ge=0)
    """Mean absolute difference of scores."""
    max_score_drift: float = Field(ge=0)
    auc_fp32: float = Field(ge=0, le=1)
    auc: float = Field(ge=0, le=1)


class Variant(Part):
    """The encoder in one precision."""

    precision: Precision
    encoder: NetworkFile
    parity: Parity | None = None
    """None for fp32, which is the reference."""
    golden_tolerance: float = Field(gt=0, le=0.1)
    """Largest difference of a golden score at which the variant still counts as the one that was measured."""


class OperatingPoint(Part):
    """A named threshold: a face is live when its score is at or above it."""

    threshold: float = Field(ge=0, le=1)
    chosen_on: str
    """The data on which it was chosen, never those on which it is reported."""
    apcer: float = Field(ge=0, le=1)
    """Of the worst PAI species there (ISO/IEC 30107-3)."""
    bpcer: float = Field(ge=0, le=1)
    """There."""


class TemporalHead(Part):
    """The network that scores clips, on the embeddings that the encoder gives of their frames."""

    network: NetworkFile
    clip: ClipSpec
    """Which frames of a clip it was trained on."""
    temperature: float = Field(gt=0)
    """Divides its logits before the softmax; its own, since it is another network than the classifier."""
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)
    """Thresholds of clip scores, by the names that the image's operating points have."""


class Provenance(Part):
    """Where a bundle comes from."""

    created_at: datetime
    git_commit: str
    seed: int
    command: str
    config: dict[str, JsonValue]
    libraries: dict[str, str]
    data: tuple[str, ...]
    """Data sets, each with its licence."""


class Manifest(Part):
    """The content of `bundle.json`."""

    schema_version: Literal[1] = 1
    name: Name
    version: Name
    preprocess: PreprocessSpec
    detector: DetectorSpec
    """The detector whose crops the encoder was trained on."""
    quality_gates: QualityGates
    variants: tuple[Variant, ...] = Field(min_length=1)
    """The first is the one that runs where nothing else is asked for."""
    classifier: NetworkFile
    temperature: float = Field(gt=0)
    """Divides the logits before the softmax."""
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)
    default_operating_point: Name
    temporal: TemporalHead | None = None
    """None where the bundle scores photos only."""
    reference_scores: ReferenceScores | None = None
    """How the scores are distributed on the data that the operating points were chosen on; None in older bundles."""
    golden: FileName = "golden.npz"
    files: dict[FileName, Sha256]
    """Every other file of the bundle."""
    provenance: Provenance
    metrics: dict[str, dict[str, float]]
    """Protocol -> metric -> value; rates in [0, 1]."""
    manifest_sha256: str = ""
    """Of this manifest's canonical JSON without this field: a changed threshold is as wrong as a changed network."""

    @model_validator(mode="after")
    def _refers_to_what_it_holds(self) -> Self:
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"default_operating_point {self.default_operating_point!r} is not an operating point")
        named = {self.golden, self.classifier.file, *(variant.encoder.file for variant in self.variants)}
        if self.temporal is not None:
            named.add(self.temporal.network.file)
            if differing := sorted(self.temporal.operating_points.keys() ^ self.operating_points.keys()):
                raise ValueError(
                    f"temporal.operating_points: {', '.join(differing)} is among those of images or of clips only"
                )
        if self.reference_scores is not None and (self.reference_scores.clip is None) != (self.temporal is None):
            raise ValueError("reference_scores.clip: must be there with a temporal head, and only then")
        if missing := sorted(named - set(self.files)):
            raise ValueError(f"files has no hash for {', '.join(missing)}")
        precisions = [variant.precision for variant in self.variants]
        if len(set(precisions)) != len(precisions):
            raise ValueError("variants: a precision is there twice")
        return self

    def digest(self) -> str:
        """SHA-256 of the manifest without its own digest.

        Of the fields that were given, as they are in the file: a manifest written before an optional field existed
        keeps its digest, and one to which the field was added, or from which it was taken, has another.
        """
        content = self.model_dump(mode="json", exclude={"manifest_sha256"}, exclude_unset=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def sealed(self) -> Self:
        """A copy with every field given, so that the digest it carries covers them all."""
        whole = type(self).model_validate(self.model_dump())
        return whole.model_copy(update={"manifest_sha256": whole.digest()})

    def variant(self, precision: str | None) -> Variant | None:
        """The variant of this precision, or the first one for None; None where there is no such variant."""
        if precision is None:
            return self.variants[0]
        return next((variant for variant in self.variants if variant.precision == precision), None)
