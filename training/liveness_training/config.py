"""The settings of a training run; kept in the run's folder and in the bundle that comes of it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from liveness_core.clips import ClipSpec
from liveness_training.data.clips import ShortClips
from liveness_training.data.protocols import TrainPeople
from liveness_training.errors import TrainingError
from liveness_training.models.gradient_reversal import Schedule
from liveness_training.models.mobilenet_v2 import Padding
from liveness_training.models.network import EncoderName

Precision = Literal["fp32", "bf16", "fp16"]

_BUILT_IN = Path(__file__).parent / "configs"


class ConfigError(TrainingError):
    """A setting is unknown, of the wrong type or out of range; the message names it."""


class TrainConfig(BaseModel):
    """What a run depends on, beside its data. An unknown field or a value out of range is refused.

    The defaults are those of the default bundle's recipe; `configs/paper.yaml` has the paper's settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Protocol
    hold_out: tuple[str, ...] = ()
    """Domains that are neither trained on nor used for thresholds, only reported on."""
    sources: tuple[str, ...] = ()
    """Domains to train on; all but the held-out ones where empty."""
    people: TrainPeople = "train"
    """Of the sources: `train` keeps their test people for reporting, `all` trains on them too, as the literature's
    cross-domain tables do. Thresholds come from development people in either case."""

    # Networks
    encoder: EncoderName = "mobilenet_v2"
    """Shared by the image-based (IB) and the video-based (VB) network."""
    padding: Padding = "tensorflow"
    """Of MobileNetV2's stride-2 convolutions; that of the initial weights. ResNets have torchvision's."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Before the live/spoof classifiers. The paper is silent; 0.2 is MobileNetV2's own."""
    dis: bool = False
    """The plain domain discriminator of the paper's Figure 5."""
    dib: bool = False
    """The class-conditional domain discriminator (CCDD) on images, D_IB."""
    lstm: bool = False
    """The temporal head, and with it VB steps."""
    frozen: bool = False
    """Encoder and image classifier stay as they are in the run that `--init` names, and only the temporal head learns:
    a head for clips, while every score of a photo stays what it was. Needs `lstm`; not in the paper."""
    dvb: bool = False
    """The CCDD on clips, D_VB; needs `lstm`."""
    lstm_hidden: int = Field(default=256, ge=1)
    """Hidden size; 256 in the paper."""
    clip_frames: int = Field(default=8, ge=2, le=64)
    """Frames of a clip; 8 in the paper."""
    short_clips: ShortClips = "skip"
    """Recordings of fewer frames: `skip` them, or `stretch` them by repeating frames (see `data.clips`)."""
    discriminator_width: int = Field(default=512, ge=1)
    """Of FC1 and FC2. The paper is silent; 512 is SSDG's choice."""
    discriminator_dropout: float = Field(default=0.5, ge=0, lt=1)
    """After FC1 and FC2. The paper is silent; 0.5 is SSDG's choice."""

    # Energy
    lambda_ib: float = Field(default=1.0, ge=0)
    """λ_IB of Eq. (1): weight of the domain terms on images; 0 switches the discriminators' learning off as well."""
    lambda_vb: float = Field(default=1.0, ge=0)
    """λ_VB of Eq. (2)."""
    grl_factor: float = Field(default=-0.2, le=0)
    """λ_GRL: factor of the gradient through the reversal layer; −0.2 in the paper."""
    grl_schedule: Schedule = "constant"
    """`constant` as in the paper, or DANN's ramp from 0 to `grl_factor`."""
    reduction: Literal["sum", "mean"] = "mean"
    """`sum` takes Eq. (1) and (2) as they stand; `mean` divides them by the batch, so that the learning rate does not
    depend on it."""
    distillation: float = Field(default=0.0, ge=0)
    """λ_T: weight of agreeing with the networks that `--teacher` names, on images; 0 for none. Not in the paper."""
    distillation_of: Literal["all", "right"] = "all"
    """Whether marks on the wrong side of the label are learned from as well: they hold what the teacher knows of other
    cameras, and its faults."""
    distillation_share: float | None = Field(default=None, ge=0, le=1)
    """None: one classifier learns from labels and marks. Else the marks have a linear classifier of their own beside
    the labels', so that one embedding serves both and neither pulls the other's weights away, and this is its share in
    the classifier that scores, a weighted mean of the two."""
    distillation_temperature: float = Field(default=2.0, gt=0)
    """Divides student's and teacher's log-odds, so that the shades of a sure teacher count as well."""
    grey_weight: float = Field(default=0.0, ge=0)
    """When training is over the image classifier is changed so that grey copies of training pictures get the score of
    the coloured ones (see `runs.refit`); the weight of the copies, 0 for no change."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Of live/spoof; keeps the scores of training pictures from 0 and 1, so that thresholds keep their meaning."""

    # Batches
    images_per_domain: int = Field(default=16, ge=1)
    """Images of each source in an IB batch; 16 in the paper."""
    clips_per_domain: int = Field(default=2, ge=1)
    """Clips of each source that has clips in a VB batch; 2 in the paper."""
    simulate: bool = False
    """Attacks are also simulated from live pictures (`data.simulation`): as two more species of each domain, and from
    domains of live pictures alone, which then are sources too."""
    augmentation: Literal["full", "flip", "none"] = "full"
    """`full`: cut, turn, colour, resolution, noise, compression, occlusion; `flip`: mirror. The paper names none."""
    grey_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the images and clips that `full` augmentation takes the colours of."""
    service_view_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the crops cut at the service's margin; the others are cut at random ones."""

    # Optimiser
    steps: int = Field(default=500, ge=1)
    """Iterations: an IB step each (none with `frozen`), and with `lstm` a VB step after it. The paper does not say how
    many."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """`sgd` in the paper."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine`: down to 0 along half a cosine after the warm-up; `constant` in the paper."""
    warmup_steps: int = Field(default=50, ge=0)
    """Iterations of linear warm-up."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled for AdamW (norms and biases are spared), L2 on all weights for SGD."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Of the exponential moving average of the weights, which is what is evaluated and exported; 0 for none."""
    seed: int = Field(default=1, ge=0)
    """Of every random choice."""

    # How it runs; the result should not depend on these, beyond rounding
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    precision: Precision = "bf16"
    """Of the forward pass; weights stay fp32. `fp16` needs a GPU, `bf16` is fp32 on a processor without it."""
    accumulation: int = Field(default=1, ge=1)
    """Parts that a batch is cut into to fit memory; their gradients add up. Batch norms see a part at a time."""
    compile: bool = False
    """torch.compile."""
    workers: int = Field(default=2, ge=0)
    """Processes that load and augment, of each training process."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Iterations between checkpoints."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.dvb and not self.lstm:
            raise ValueError("dvb: the discriminator on clips needs lstm")
        if self.distillation_share is not None and not self.distillation:
            raise ValueError("distillation_share: without distillation there are no marks to learn from")
        if self.frozen and not self.lstm:
            raise ValueError("frozen: nothing is left to learn without lstm")
        if self.frozen and self.grey_weight:
            raise ValueError("frozen: grey_weight changes the classifier, which stays as it is")
        if self.frozen and (self.dis or self.dib or self.dvb):
            raise ValueError("frozen: dis, dib and dvb change the encoder, which stays as it is")
        return self

    @property
    def clip(self) -> ClipSpec:
        """Which frames of a clip are taken."""
        return ClipSpec(frames=self.clip_frames)


def load_config(source: str | None, overrides: Sequence[str] = (), base: TrainConfig | None = None) -> TrainConfig:
    """Settings from a YAML file and from the command line, which wins.

    Args:
        source: path of a YAML file, or the name of one that comes along, e.g. `paper`; None for the defaults.
        overrides: `FIELD=VALUE` each, the value in YAML: `steps=200`, `hold_out=[nuaa, casia_fasd]`, `dib=true`.
        base: settings that both build on.

    Raises:
        ConfigError: there is no such file, or a field is unknown or has a wrong value.
    """
    values: dict[str, Any] = base.model_dump() if base is not None else {}
    if source is not None:
        values |= _read(source)
    for override in overrides:
        field, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} is not FIELD=VALUE")
        values[field.strip()] = _parse(text, f"the value of {field.strip()}")
    try:
        return TrainConfig.model_validate(_sequences_as_tuples(values), strict=True)
    except ValidationError as error:
        faults = (
            f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise ConfigError("; ".join(faults)) from error


def built_in_configs() -> list[str]:
    """Names of the settings that come along."""
    return sorted(path.stem for path in _BUILT_IN.glob("*.yaml"))


def _read(source: str) -> dict[str, Any]:
    path = Path(source)
    if source in built_in_configs():
        path = _BUILT_IN / f"{source}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(built_in_configs())
        raise ConfigError(f"{source}: neither a file that can be read nor one of {known} ({error})") from error
    values = _parse(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected lines FIELD: VALUE")
    return values


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 3e-4 for text, as it has no point; here it is the number that was meant."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _parse(text: str, what: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not YAML: {error}") from error


def _sequences_as_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """YAML's lists as the tuples of the fields; a lone name as a list of one."""
    fields = {name for name, field in TrainConfig.model_fields.items() if field.annotation == tuple[str, ...]}
    return {
        name: (tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value)
        if name in fields
        else value
        for name, value in values.items()
    }
