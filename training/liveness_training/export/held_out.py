"""Figures on unseen domains, from runs of the same recipe that kept a domain out."""

from collections.abc import Sequence
from dataclasses import replace

from liveness_training.config import TrainConfig
from liveness_training.evaluation.figures import Report
from liveness_training.export.networks import ExportError
from liveness_training.runs.folder import RunFolder

# The runs that measure a bundle on unseen domains may differ from its own in these: the domain, and how they ran.
_NOT_THE_RECIPE = {"hold_out", "device", "workers", "compile", "checkpoint_every"}


def held_out_figures(run: RunFolder, others: Sequence[RunFolder], *, clips: bool) -> Report:
    """The figures of runs that kept a domain out, on that domain.

    Args:
        run: the run that becomes a bundle.
        others: the runs that kept a domain out.
        clips: whether the bundle scores clips; without it their figures are left out.

    Raises:
        ExportError: a run was trained by another recipe.
    """
    found: dict[str, dict[str, float]] = {}
    for other in others:
        ours, theirs = (
            compared.config.model_dump(exclude=_NOT_THE_RECIPE) for compared in (_recipe(run, other), other)
        )
        # A shorter run may stand for a longer one, and its figures say so; a longer run would promise too much.
        shorter = theirs["steps"] < ours["steps"]
        differing = [name for name in ours if ours[name] != theirs[name] and not (name == "steps" and shorter)]
        differing += ["preprocessing"] if run.preprocess != other.preprocess else []
        if differing:
            raise ExportError(
                f"{other.path} was trained by another recipe than {run.path} ({', '.join(differing)}): "
                "its figures say nothing here"
            )
        for name, values in other.metrics().items():
            if name.startswith("held_out/") and (clips or not name.endswith("@clip")):
                found[name] = dict(values) | ({"steps": float(theirs["steps"])} if shorter else {})
    return found


def _recipe(run: RunFolder, other: RunFolder) -> RunFolder:
    """The run whose recipe a held-out run must have.

    A run on a frozen encoder scores photos as the run that it started from. Where the held-out run has no frozen
    encoder, it is therefore compared with that earlier run.
    """
    if not run.config.frozen or other.config.frozen or run.init_run is None:
        return run
    return replace(run, config=TrainConfig.model_validate(run.init_run["config"]))
