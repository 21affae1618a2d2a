"""`bundle.json`, the description of a bundle. Training writes it and everyone reads it through these models."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.runtime import TensorSpec
from liveness_core.views import View, views_of

SCHEMA_VERSIONS = (1, 2)
"""Versions that this software reads: 2 has views, 1 the crop of one rule."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)]
"""A file name without folders, so that a manifest cannot name a file outside its bundle."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Precision = Literal["fp32", "fp16", "int8"]
SCORE_EDGES = tuple(step / 20 for step in range(1, 20))
"""Upper edges of the ranges that scores are counted in, here and in the service's metrics: 0.05, 0.10, … 0.95."""
_DIGITS = 6


class Part(BaseModel):
    """An immutable record that refuses unknown fields and numbers that JSON cannot hold."""

    # A NaN would be written to JSON as null, and the bundle could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkFile(Part):
    """One ONNX file."""

    file: FileName
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Parity(Part):
    """How far the scores of a variant are from those of the trained fp32 network, measured on real crops."""

    measured_on: str
    images: int = Field(ge=1)
    mean_score_drift: float = Field(ge=0)
    """Mean absolute difference of the scores."""
    max_score_drift: float = Field(ge=0)
    auc_fp32: float = Field(ge=0, le=1)
    auc: float = Field(ge=0, le=1)


class Variant(Part):
    """The encoder in one precision."""

    precision: Precision
    encoder: NetworkFile
    parity: Parity | None = None
    """None for fp32, which the others are compared with."""
    golden_tolerance: float = Field(gt=0, le=0.1)
    """Largest difference of a golden score from its recorded value that is accepted at loading."""


class ScoreDistribution(Part):
    """The distribution of the scores of presentations with one label."""

    count: int = Field(ge=1)
    """Number of presentations."""
    shares: tuple[float, ...] = Field(min_length=len(SCORE_EDGES), max_length=len(SCORE_EDGES))
    """For each of `SCORE_EDGES`, the share of scores at or below it."""

    @model_validator(mode="after")
    def _is_cumulative(self) -> Self:
        if any(after < before for before, after in pairwise((0.0, *self.shares, 1.0))):
            raise ValueError("shares: must rise from 0 to 1")
        return self

    @classmethod
    def of(cls, scores: Sequence[float]) -> Self:
        """The distribution of these scores; there must be at least one."""
        at_or_below = np.searchsorted(np.sort(scores), SCORE_EDGES, side="right")
        return cls(count=len(scores), shares=tuple(round(float(n) / len(scores), _DIGITS) for n in at_or_below))


class Calibration(Part):
    """How `liveness calibrate` chose an operating point, so that nobody has to guess later what it rests on."""

    method: Literal["live_only", "labelled"]
    """Chosen from live people alone, or from live people and attacks."""
    rule: str
    """What the threshold was to fulfil, e.g. `5 % of live people are refused`."""
    data_sha256: Sha256
    """SHA-256 over the hashes, labels and people of all files, so that the same data are recognised."""
    created_at: datetime
    live_people: int = Field(ge=1)
    """People with at least one live file that has a score; they, not files, are what the intervals count."""
    live_files: int = Field(ge=1)
    """Live files with a score."""
    attack_people: int = Field(default=0, ge=0)
    """People who are shown by the attacks with a score; 0 with `live_only`."""
    attack_files: int = Field(default=0, ge=0)
    undetermined_files: int = Field(default=0, ge=0)
    """Files of both labels that got no score: no threshold decides about them."""
    bpcer_low: float = Field(ge=0, le=1)
    """The BPCER of all people of this camera lies from here …"""
    bpcer_high: float = Field(ge=0, le=1)
    """… to here, with 95 % confidence."""
    apcer_of: Literal["reference_attacks", "reference_scores", "operating_points", "these_data"]
    """Where `apcer` comes from: measured on attacks of these data, or expected from what the bundle knows of attacks on
    other cameras (its `reference_attacks`, `reference_scores`, or next laxer operating point)."""


class OperatingPoint(Part):
    """A named threshold: a face is live when its score is at or above it."""

    threshold: float = Field(ge=0, le=1)
    chosen_on: str
    """The data on which it was chosen. Metrics are never reported on the same data."""
    apcer: float = Field(ge=0, le=1)
    """APCER on that data, of the worst PAI species (ISO/IEC 30107-3)."""
    bpcer: float = Field(ge=0, le=1)
    """BPCER on that data."""
    calibration: Calibration | None = None
    """What `liveness calibrate` chose it from; None for the points that the bundle was made with."""
    reference_scores: ScoreDistribution | None = None
    """Scores of the live files that it was calibrated on: what drift on this camera is measured against. None without a
    calibration; the bundle's own `reference_scores` count then."""


class TemporalHead(Part):
    """The network that scores clips, from the encoder's embeddings of their frames."""

    network: NetworkFile
    clip: ClipSpec
    """Which frames of a clip it was trained on."""
    temperature: float = Field(gt=0)
    """Divides this network's logits before the softmax; independent of the classifier's temperature."""
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)
    """Thresholds of clip scores. They have the same names as the operating points of photos."""


class LabelledScores(Part):
    """The distributions for bona fide presentations and for attacks, all PAI species together."""

    live: ScoreDistribution
    spoof: ScoreDistribution


class ReferenceScores(Part):
    """The distributions on the development data, scored by the variant that the thresholds were chosen with.

    Drift is measured against them.
    """

    photo: LabelledScores
    clip: LabelledScores | None = None
    """None if the bundle scores photos only."""


class AttackScores(Part):
    """The scores of attacks of one PAI species."""

    count: int = Field(ge=1)
    """Number of attacks."""
    people: int = Field(ge=1)
    """Number of people who are shown."""
    quantiles: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=2, max_length=1001)
    """Scores at evenly spaced shares of the attacks, from the lowest (share 0) to the highest (share 1)."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if any(after < before for before, after in pairwise(self.quantiles)):
            raise ValueError("quantiles: must not fall")
        return self


class ReferenceAttacks(Part):
    """Attacks that the bundle was measured on: what a camera with live people alone may expect of attacks.

    They come from other cameras, so what they give is an expectation and no measurement.
    """

    scored_by: str
    """Which data, and which of the bundle's networks gave the scores."""
    photo: dict[Name, AttackScores] = Field(min_length=1)
    """Scores of photos, by PAI species."""


class Provenance(Part):
    """Where a bundle comes from."""

    created_at: datetime
    git_commit: str
    seed: int
    command: str
    config: dict[str, JsonValue]
    libraries: dict[str, str]
    data: tuple[str, ...]
    """Names of the data sets with their licences."""


class Manifest(Part):
    """The content of `bundle.json`."""

    schema_version: Literal[1, 2] = 1
    name: Name
    version: Name
    preprocess: PreprocessSpec | Annotated[tuple[View, ...], Field(min_length=1, max_length=16)]
    """How a face becomes the encoder's input: in schema version 2 a list of views, in 1 the only crop (see `views`)."""
    detector: DetectorSpec
    """The detector whose crops the encoder was trained on, or one that was measured to cut the same."""
    quality_gates: QualityGates
    variants: tuple[Variant, ...] = Field(min_length=1)
    """The first one runs unless another is asked for."""
    classifier: NetworkFile
    temperature: float = Field(gt=0)
    """Divides the classifier's logits before the softmax."""
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)
    default_operating_point: Name
    temporal: TemporalHead | None = None
    """None if the bundle scores photos only."""
    reference_scores: ReferenceScores | None = None
    """Distribution of the scores on the data that the operating points were chosen on; None in older bundles."""
    reference_attacks: ReferenceAttacks | None = None
    """Scores of attacks by species, from which `liveness calibrate` expects an APCER; None in older bundles."""
    golden: FileName = "golden.npz"
    files: dict[FileName, Sha256]
    """SHA-256 of every other file of the bundle, by its name."""
    provenance: Provenance
    metrics: dict[str, dict[str, float]]
    """Values of the metrics, by protocol and metric; rates are in [0, 1]."""
    manifest_sha256: str = ""
    """SHA-256 of this manifest without this field (see `digest`), so that a changed threshold is noticed like a changed
    network."""

    @model_validator(mode="after")
    def _refers_to_what_it_holds(self) -> Self:
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"default_operating_point {self.default_operating_point!r} is not an operating point")
        if isinstance(self.preprocess, PreprocessSpec) != (self.schema_version == 1):
            raise ValueError(
                "preprocess: must be a list of views with schema_version 2, and one crop with schema_version 1"
            )
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            raise ValueError("preprocess: a view's name is there twice")
        if sum(view.heatmap for view in self.views) > 1:
            raise ValueError("preprocess: heat maps can lie on one view only")
        named = {self.golden, self.classifier.file, *(variant.encoder.file for variant in self.variants)}
        if self.temporal is not None:
            named.add(self.temporal.network.file)
            if differing := sorted(self.temporal.operating_points.keys() ^ self.operating_points.keys()):
                raise ValueError(
                    "temporal.operating_points: must have the same names as operating_points, but "
                    f"{', '.join(differing)} is in one of the two only"
                )
        if self.reference_scores is not None and (self.reference_scores.clip is None) != (self.temporal is None):
            raise ValueError("reference_scores.clip: must be there with a temporal head, and only then")
        if missing := sorted(named - set(self.files)):
            raise ValueError(f"files has no hash for {', '.join(missing)}")
        precisions = [variant.precision for variant in self.variants]
        if len(set(precisions)) != len(precisions):
            raise ValueError("variants: a precision is there twice")
        return self

    @property
    def views(self) -> tuple[View, ...]:
        """The crops of a face that the encoder takes; one of them in schema version 1."""
        return views_of(self.preprocess)

    @property
    def heatmap_view(self) -> int | None:
        """Which of the views heat maps lie on; None if the encoder explains nothing."""
        return next((number for number, view in enumerate(self.views) if view.heatmap), None)

    def digest(self) -> str:
        """SHA-256 of the manifest without its own digest.

        It covers the fields that are written in the file, in canonical JSON. A manifest from before an optional field
        existed therefore keeps its digest, and adding or removing the field changes it.
        """
        content = self.model_dump(mode="json", exclude={"manifest_sha256"}, exclude_unset=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def sealed(self) -> Self:
        """A copy in which every field is written out, with the digest that covers them all."""
        whole = type(self).model_validate(self.model_dump())
        return whole.model_copy(update={"manifest_sha256": whole.digest()})

    def variant(self, precision: str | None) -> Variant | None:
        """The variant of this precision (for None the first one), or None if there is no such variant."""
        if precision is None:
            return self.variants[0]
        return next((variant for variant in self.variants if variant.precision == precision), None)
