"""SPEC.yaml: which networks make a committee, and how their outputs become one score. docs/bundle.md has an example."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from liveness_core.bundle import OperatingPoint, ReferenceAttacks
from liveness_core.bundle.manifest import Name, Precision, ReferenceScores
from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.quality import QualityGates
from liveness_core.views import View
from liveness_training.errors import TrainingError

MemberName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=30)]


class SpecError(TrainingError):
    """A committee's specification is faulty; the message names the field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Line(_Part):
    """slope * x + offset."""

    slope: float = 1.0
    offset: float = 0.0


class LogOdds(_Part):
    """How a network's outputs become log-odds of live: offset + the sum of weights[k] * z[k]."""

    softmax: bool = False
    """Whether z[k] is log(p[k] / (1 - p[k])) with p the softmax of the outputs; otherwise it is the output itself."""
    weights: tuple[float, ...] = Field(min_length=1)
    offset: float = 0.0


class MemberSpec(_Part):
    """One network of a committee. Exactly one of `network`, `run` and `bundle` says where it comes from."""

    name: MemberName
    network: str | None = None
    """ONNX file with one input (n, 3, S, S)."""
    run: str | None = None
    """Folder of a run of this software."""
    bundle: str | None = None
    """Folder of a bundle of schema version 1, whose encoder is taken as it is, quantised or not."""
    precision: Precision | None = None
    """Which encoder of a `bundle`; by default its first."""
    view: View | None = None
    """The crop of a `network`; runs and bundles bring their own."""
    output: str | None = None
    """The output (n, c) of a `network`; by default its first."""
    log_odds: LogOdds | None = None
    """For a `network`."""
    features: str | None = None
    """Tensor (n, d) inside a `network` that goes into the embedding too. Of a run or bundle its own embedding does,
    unless this is `none`."""
    calibration: Line = Line()
    """From log-odds of the network to calibrated ones."""
    grey: Line | None = None
    """The calibration where the crop has no colour; between the two it changes gradually. None: there is only one."""
    limit: float | None = Field(default=None, gt=0)
    """Calibrated log-odds are clipped to plus and minus this; None: they are not."""
    weight: float = 1.0
    """Weight of the calibrated log-odds in the sum."""
    heatmap: bool = False
    """Whether heat maps show what this member sees; it must be a run or a bundle."""
    int8: Literal["auto", "always", "never"] = "auto"
    """Whether the int8 variant has this member in int8; `auto`: if its drift is small enough."""
    float_convolutions: int = Field(default=1, ge=0)
    """First convolutions that stay in float32 there."""
    source: str
    """What it is and where it comes from, for NOTICE and the model card."""
    licence: str | None = None
    """File with its licence; it is copied into the bundle."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(where is not None for where in (self.network, self.run, self.bundle)) != 1:
            raise ValueError(f"{self.name}: give one of network, run and bundle")
        if self.network is not None and (self.view is None or self.log_odds is None):
            raise ValueError(f"{self.name}: a network needs view and log_odds")
        if self.network is None and (self.view, self.output, self.log_odds) != (None, None, None):
            raise ValueError(f"{self.name}: view, output and log_odds are those of the run or bundle")
        if self.network is not None and self.heatmap:
            raise ValueError(f"{self.name}: heat maps need a run or a bundle")
        return self


class HeadSpec(_Part):
    """The temporal head."""

    network: str
    """ONNX file: `embeddings` (B, T, D) to `logits` (B, 2)."""
    clip: ClipSpec = ClipSpec()
    temperature: float = Field(default=1.0, gt=0)
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)


class MeasureSpec(_Part):
    """The pictures by which members are quantised, and the drift of each precision is measured."""

    data: str
    """Folder with an index.csv."""
    calibrate: int = Field(default=256, ge=8)
    """Pictures of training people for the ranges of activations."""
    pictures: int = Field(default=400, ge=8)
    """Pictures of test people for the drift."""
    most_drift: float = Field(default=0.02, gt=0, le=1)
    """Largest mean difference of a member's probability of live with which it is kept in int8."""


class CommitteeSpec(_Part):
    """What `liveness-train committee` reads."""

    version: Name
    members: tuple[MemberSpec, ...] = Field(min_length=1)
    offset: float = 0.0
    """Added to the weighted sum of the members' calibrated log-odds."""
    temperature: float = Field(default=1.0, gt=0)
    operating_points: dict[Name, OperatingPoint] = Field(min_length=1)
    default_operating_point: Name
    reference_scores: ReferenceScores | None = None
    reference_attacks: ReferenceAttacks | None = None
    temporal: HeadSpec | None = None
    detector: DetectorSpec = DetectorSpec()
    quality_gates: QualityGates = QualityGates()
    precisions: tuple[Precision, ...] = Field(default=("int8",), min_length=1)
    """The first is the default."""
    weights_in_half: bool = False
    """Whether members that stay in float32 in the int8 variant have their weights stored as float16: half the size."""
    measure: MeasureSpec
    metrics: dict[str, dict[str, float]] = {}
    card: str = ""
    """Markdown that is put into the model card."""
    data: tuple[str, ...] = ()
    """Names of the data sets with their terms."""
    seed: int = 0
    config: dict[str, JsonValue] = {}
    """How the members were trained, for the bundle's provenance."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError("members: a name is there twice")
        return self


_FILES = ("network", "run", "bundle", "licence")
_CONTENTS: dict[str, Callable[[str], Any]] = {"reference_scores": json.loads, "metrics": json.loads, "card": str}


def read_spec(path: Path) -> CommitteeSpec:
    """Read a specification. Paths become absolute, and `reference_scores`, `metrics` and `card` may name files.

    Raises:
        SpecError: it cannot be read, or a field is faulty.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return CommitteeSpec.model_validate(_resolved(content, path.parent))
    except (OSError, yaml.YAMLError, ValidationError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from error


def _resolved(content: Any, folder: Path) -> Any:
    if not isinstance(content, dict):
        raise ValueError("not a mapping of fields")
    found = dict(content)
    for name, parse in _CONTENTS.items():
        if isinstance(found.get(name), str):
            found[name] = parse(_path(found[name], folder).read_text(encoding="utf-8"))
    found["members"] = [_with_paths(member, _FILES, folder) for member in found.get("members") or ()]
    for name, field in (("temporal", "network"), ("measure", "data")):
        if isinstance(found.get(name), dict):
            found[name] = _with_paths(found[name], (field,), folder)
    return found


def _with_paths(part: Any, fields: tuple[str, ...], folder: Path) -> Any:
    if not isinstance(part, Mapping):
        return part
    paths = {field: str(_path(part[field], folder)) for field in fields if isinstance(part.get(field), str)}
    return {**part, **paths}


def _path(text: str, folder: Path) -> Path:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ValueError(f"{text}: the environment variable {name} is not set")
        return os.environ[name]

    return (folder / re.sub(r"\$(\w+)", value, text)).absolute()
