"""The settings of a training run; they are kept in the run's folder and in its bundle."""

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
from liveness_training.models.adversary import Schedule
from liveness_training.models.mobilenet_v2 import Padding
from liveness_training.models.network import EncoderName
from liveness_training.models.style_mixing import Partners

Precision = Literal["fp32", "bf16", "fp16"]
Sharpness = Literal["none", "sam", "gac_fas"]

_BUILT_IN = Path(__file__).parent / "configs"


class ConfigError(TrainingError):
    """A setting is unknown, of the wrong type or out of range; the message names it."""


class TrainConfig(BaseModel):
    """All settings of a run. Unknown fields and values out of range are refused.

    The defaults are those of the default bundle's recipe. `configs/paper.yaml` has the paper's settings with its losses
    read as sums, `configs/paper_mean.yaml` with its losses read as means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Protocol
    hold_out: tuple[str, ...] = ()
    """Domains that are only reported on: they are neither trained on nor used for thresholds."""
    sources: tuple[str, ...] = ()
    """Domains to train on; where empty, all that are not held out."""
    people: TrainPeople = "train"
    """Which people of the sources to train on: `train` keeps their test people for reporting, `all` trains on them too,
    as the literature's cross-domain tables do. Thresholds come from development people in either case."""

    # Networks
    encoder: EncoderName = "mobilenet_v2"
    """Encoder of both the image-based (IB) and the video-based (VB) network."""
    padding: Padding = "tensorflow"
    """How MobileNetV2 pads its convolutions of stride 2; must be that of the initial weights. ResNets use
    torchvision's, EfficientNet-Lite TensorFlow's."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the live/spoof classifiers. The paper does not give it; 0.2 is MobileNetV2's own."""
    dis: bool = False
    """Whether to use the plain domain discriminator of the paper's Figure 5."""
    dib: bool = False
    """Whether to use the class-conditional domain discriminator (CCDD) on images, D_IB."""
    single_side: bool = False
    """Whether to use SSDG's domain discriminator, which sees live images alone; its weight is `lambda_ib`."""
    feature_scale: float | None = Field(default=None, gt=0)
    """Length that every embedding is brought to, with class weights of length 1 (SSDG); None leaves both free."""
    lstm: bool = False
    """Whether to train the temporal head, with VB steps."""
    frozen: bool = False
    """Whether encoder and image classifier stay as they are in the run that `--init` names, so that only the temporal
    head learns and every score of a photo stays the same. Needs `lstm`; not in the paper."""
    dvb: bool = False
    """Whether to use the CCDD on clips, D_VB; needs `lstm`."""
    lstm_hidden: int = Field(default=256, ge=1)
    """Hidden size of the LSTM; 256 in the paper."""
    clip_frames: int = Field(default=8, ge=2, le=64)
    """Frames of a clip; 8 in the paper."""
    short_clips: ShortClips = "skip"
    """What to do with recordings of fewer frames: `skip` them, or `stretch` them by repeating frames (see
    `data.clips`)."""
    discriminator_width: int = Field(default=512, ge=1)
    """Width of FC1 and FC2. The paper does not give it; 512 is SSDG's choice."""
    discriminator_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Dropout after FC1 and FC2. The paper does not give it; 0.5 is SSDG's choice."""

    # Energy
    lambda_ib: float = Field(default=1.0, ge=0)
    """λ_IB of Eq. (1): weight of the domain terms on images; with 0 the discriminators do not learn either."""
    lambda_vb: float = Field(default=1.0, ge=0)
    """λ_VB of Eq. (2): weight of the domain terms on clips."""
    grl_factor: float = Field(default=-0.2, le=0)
    """λ_GRL: factor of the gradient through the reversal layer; −0.2 in the paper."""
    grl_schedule: Schedule = "constant"
    """`constant` as in the paper, or DANN's ramp from 0 to `grl_factor`."""
    reduction: Literal["sum", "mean"] = "mean"
    """`sum` takes Eq. (1) and (2) as they are; `mean` divides them by the size of the batch, so that the learning rate
    need not change with it. With SGD a sum over 48 images is a mean at 48 times the learning rate: the built-in
    settings `paper` and `paper_mean` are the two readings of the paper."""
    distillation: float = Field(default=0.0, ge=0)
    """λ_T: weight of the distillation term on images, with the networks of `--teacher`; 0 for none. Not in the
    paper."""
    distillation_of: Literal["all", "right"] = "all"
    """`all` learns from every score of the teacher, `right` only from those on the side of the label. Wrong scores hold
    what the teacher knows of other cameras, and its faults."""
    distillation_share: float | None = Field(default=None, ge=0, le=1)
    """None: one classifier learns from labels and teacher. Otherwise a distillation head, a second linear classifier on
    the same embedding, learns from the teacher, and the classifier that scores is the weighted mean of both with this
    share of the head."""
    distillation_temperature: float = Field(default=2.0, gt=0)
    """Divides the log-odds of student and teacher, so that small differences of a sure teacher count as well."""
    grey_weight: float = Field(default=0.0, ge=0)
    """Weight of grey copies in the refit of the image classifier after training, which gives grey copies of training
    pictures the score of the coloured ones (see `runs.refit`); 0 for no refit."""
    patch_labels: bool = False
    """Whether every place of the last feature map learns the picture's label by itself, so that the network looks for
    traces of paper and screen everywhere. The score stays the same function: the mean of all places."""
    triplet: float = Field(default=0.0, ge=0)
    """Weight of SSDG's asymmetric triplet loss on images (see `tasks.triplets`); 0 for none."""
    triplet_margin: float = Field(default=0.1, gt=0)
    """By how much images of another class of the triplets shall be farther away; 0.1 in SSDG."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Smoothing of the labels live and spoof; keeps the scores of training pictures away from 0 and 1, so that
    thresholds keep their meaning."""

    # Batches
    images_per_domain: int = Field(default=16, ge=1)
    """Images of every source in an IB batch; 16 in the paper."""
    clips_per_domain: int = Field(default=2, ge=1)
    """Clips in a VB batch of every source that has clips; 2 in the paper."""
    simulate: bool = False
    """Whether attacks are also simulated from live pictures (`data.simulation`): as two more species of every domain.
    Domains of live pictures alone become sources too."""
    augmentation: Literal["full", "flip", "none"] = "full"
    """`full`: cut, turn, colour, resolution, noise, compression, occlusion; `flip`: mirror. The paper names no
    augmentation."""
    style_mixing: Partners = "none"
    """Whether the encoder mixes the styles of images in its lower layers (MixStyle, see `models.style_mixing`), and
    with whose: of a `random` image, of one of another domain (`cross_domain`), of one of the `same_label`."""
    style_mixing_probability: float = Field(default=0.5, gt=0, le=1)
    """How often a layer mixes styles; 0.5 in the paper."""
    style_mixing_alpha: float = Field(default=0.1, gt=0)
    """α of Beta(α, α), from which an image's share of its own style is drawn; 0.1 in the paper."""
    grey_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the images and clips that lose their colours in `full` augmentation."""
    service_view_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the crops that are cut at the service's margin; the others are cut at random margins."""

    # Optimiser
    steps: int = Field(default=500, ge=1)
    """Iterations. Each is an IB step (not with `frozen`) and, with `lstm`, a VB step. The paper does not give the
    number."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """`sgd` in the paper."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate; 3e-4 in the paper."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up. `cosine`: down to 0 along half a cosine; `constant` in the paper."""
    warmup_steps: int = Field(default=50, ge=0)
    """Iterations in which the learning rate rises linearly to its peak."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay: decoupled for AdamW, without norms and biases; L2 on all weights for SGD."""
    sharpness: Sharpness = "none"
    """`sam` descends the gradient at the worst point near the weights, with 2 passes a step (`loop.sharpness`);
    `gac_fas` adds those at such a point for each domain, with 2 passes for each (`loop.alignment`)."""
    sharpness_rho: float = Field(default=0.05, gt=0)
    """ρ: how far away these points are; 0.05 in SAM, 0.1 in GAC-FAS."""
    alignment_alpha: float = Field(default=2e-4, ge=0)
    """α of `gac_fas`: how much the points of the domains go down the common gradient; 2e-4 in GAC-FAS's code."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is evaluated and exported; 0 for no average."""
    seed: int = Field(default=1, ge=0)
    """Seed of every random choice."""

    # How the run is carried out; apart from rounding the result should not depend on these
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU where there is one."""
    precision: Precision = "bf16"
    """Precision of the forward pass; weights stay fp32. `fp16` needs a GPU; `bf16` becomes fp32 on a processor without
    it."""
    accumulation: int = Field(default=1, ge=1)
    """Number of parts that a batch is cut into to fit memory. Gradients add up; batch norms see one part at a time."""
    compile: bool = False
    """Whether to compile the networks by `torch.compile`."""
    workers: int = Field(default=2, ge=0)
    """Processes that load and augment pictures, for every training process."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Iterations between checkpoints."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        adversarial = self.dis or self.dib or self.dvb or self.single_side
        refused = {
            "dvb: the discriminator on clips needs lstm": self.dvb and not self.lstm,
            "distillation_share: without distillation there is no teacher to learn from": (
                self.distillation_share is not None and not self.distillation
            ),
            "frozen: nothing is left to learn without lstm": self.frozen and not self.lstm,
            "frozen: grey_weight changes the classifier, which stays as it is": self.frozen and bool(self.grey_weight),
            "frozen: dis, dib, dvb and single_side change the encoder, which stays as it is": (
                self.frozen and adversarial
            ),
            "frozen: triplet and style_mixing are for images, and there is no step on images": (
                self.frozen and bool(self.of_whole_batches)
            ),
            "single_side: it stands in the place of dis and dib": self.single_side and (self.dis or self.dib),
            "feature_scale: patch_labels scores places, whose length is not that of the picture": (
                self.feature_scale is not None and self.patch_labels
            ),
            "feature_scale: the distillation head of distillation_share has no class weights of length 1": (
                self.feature_scale is not None and self.distillation_share is not None
            ),
            "sharpness: with a discriminator (dis, dib, dvb, single_side) there is no one energy to climb": (
                self.sharpness != "none" and adversarial
            ),
            "sharpness: gac_fas adds up the energies of the domains, and triplet compares domains": (
                self.sharpness == "gac_fas" and bool(self.triplet)
            ),
            "sharpness: fp16 scales gradients, set precision to bf16 or fp32": (
                self.sharpness != "none" and self.precision == "fp16"
            ),
            "style_mixing: it cannot be compiled, set compile to false": self.style_mixing != "none" and self.compile,
            f"accumulation: set it to 1, since {' and '.join(self.of_whole_batches)} looks at whole batches": (
                self.accumulation > 1 and bool(self.of_whole_batches)
            ),
        }
        for message, holds in refused.items():
            if holds:
                raise ValueError(message)
        return self

    @property
    def of_whole_batches(self) -> tuple[str, ...]:
        """Names of the settings in use that compare the pictures of a batch, which then cannot be cut into parts."""
        used = {"triplet": bool(self.triplet), "style_mixing": self.style_mixing != "none"}
        return tuple(name for name, there in used.items() if there)

    @property
    def of_one_process(self) -> tuple[str, ...]:
        """Names of the settings in use for which several processes cannot share a batch."""
        return (*self.of_whole_batches, *(("sharpness",) if self.sharpness == "gac_fas" else ()))

    @property
    def clip(self) -> ClipSpec:
        """The frames of a video that make a clip."""
        return ClipSpec(frames=self.clip_frames)


def load_config(source: str | None, overrides: Sequence[str] = (), base: TrainConfig | None = None) -> TrainConfig:
    """Settings from a YAML file and from the command line, which wins.

    Args:
        source: path of a YAML file, or name of a built-in one, e.g. `paper`; None for the defaults. A file with a line
            `based_on: NAME` changes the built-in settings of that name.
        overrides: texts `FIELD=VALUE`, the value in YAML: `steps=200`, `hold_out=[nuaa, casia_fasd]`, `dib=true`.
        base: settings that file and overrides change; None for the defaults.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown or has a wrong value.
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
    """Names of the built-in settings."""
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
    base = values.pop("based_on", None)
    if base is None:
        return values
    if base not in built_in_configs() or base == path.stem:
        raise ConfigError(f"{path}: based_on is {base!r}, expected another one of {', '.join(built_in_configs())}")
    return _read(base) | values


class _Loader(yaml.SafeLoader):
    """Reads 3e-4 as the number that it means; YAML 1.1 takes it for text, since it has no decimal point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _parse(text: str, what: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not YAML: {error}") from error


def _sequences_as_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """YAML's lists as the tuples that the fields expect; a single name becomes a tuple of one."""
    fields = {name for name, field in TrainConfig.model_fields.items() if field.annotation == tuple[str, ...]}
    return {
        name: (tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value)
        if name in fields
        else value
        for name, value in values.items()
    }
