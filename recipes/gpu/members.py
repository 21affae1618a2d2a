"""The members of a committee that a GPU trains, and the runs that each of them takes.

A published network that is to be tuned gets a line in `MEMBERS` as well, once `create_encoder` knows it: its weights
are read from `--init`, and its crop is cut from the part of the picture that a pack keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig, load_config

DOMAINS = ("replay_attack", "casia_fasd", "nuaa", "celeba_spoof")
"""Each is kept out of one run of every member."""
COMMON = ("precision=bf16", "steps=1500", "images_per_domain=32", "ema_decay=0.998")
"""What a GPU changes in the settings `member_context`. `steps` is an upper bound: a run ends when its time is over."""
_UNKNOWN = ("dis", "dib", "lstm", "frozen", "distillation", "grey_weight")
"""Settings that `run.py` does not carry out."""


@dataclass(frozen=True, slots=True)
class Member:
    """A network of ours with its view."""

    margin: float
    """Side of its level square divided by the size of the face."""
    init: str
    """Whose initial weights it starts from."""
    size: int = 160
    settings: tuple[str, ...] = field(default=())
    """FIELD=VALUE beside `COMMON`."""


MEMBERS = {
    "context": Member(2.7, "efficientnet_lite0"),
    # Traces of paper and screen are everywhere on the face: each place of the feature map learns the label by itself.
    "tight": Member(1.4, "efficientnet_lite0", settings=("patch_labels=true",)),
    # Another start. On low pictures its square is that of `context`, since both end at the picture's edge.
    "wide": Member(4.0, "mobilenet_v2", settings=("encoder=mobilenet_v2",)),
}


def runs_of(names: Sequence[str], domains: Sequence[str], overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The runs of some members: on all domains, then without each of some. In the order in which they are made.

    Args:
        names: keys of `MEMBERS`.
        domains: the domains to keep out.
        overrides: FIELD=VALUE for all runs.

    Raises:
        ConfigError: a setting is unknown or wrong.
        ValueError: a setting is one that `run.py` does not carry out.
    """
    runs = []
    for name in names:
        member = MEMBERS[name]
        for domain in (None, *domains):
            kept_out = [f"hold_out=[{domain}]"] if domain else []
            config = load_config("member_context", [*COMMON, *member.settings, *overrides, *kept_out])
            if unknown := [each for each in _UNKNOWN if getattr(config, each)]:
                raise ValueError(f"{unknown[0]}: a GPU pack trains on images and labels alone")
            runs.append(
                {
                    "name": f"{name}-without-{domain}" if domain else f"{name}-all",
                    "member": name,
                    "config": config.model_dump(mode="json"),
                    "preprocess": PreprocessSpec(margin=member.margin, size=member.size).model_dump(mode="json"),
                    "init": member.init,
                }
            )
    return runs


def settings_of(run: dict[str, Any]) -> tuple[TrainConfig, PreprocessSpec]:
    """The settings of a run in a plan."""
    return TrainConfig.model_validate(run["config"]), PreprocessSpec.model_validate(run["preprocess"])


def init_files(given: Sequence[str]) -> dict[str, Path]:
    """NAME=FILE -> file, for `--init`."""
    return {name: Path(file) for name, _, file in (each.partition("=") for each in given)}
