"""What the commands of `liveness-train` share: their options, and what they do with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.errors import TrainingError

if TYPE_CHECKING:  # torch takes seconds to import, which `--help` need not wait for
    from liveness_training.config import TrainConfig
    from liveness_training.data.crops import CropSet
    from liveness_training.runs.folder import RunFolder

Data = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="FOLDER with an index.csv, or NAME=FOLDER of a data set as its owners give it, e.g. oulu_npu=/data/oulu, "
        "oulu_npu:1=… for one of its protocols.",
    ),
]
DataAgain = Annotated[
    list[str] | None, typer.Option("--data", help="Data of the run, if they have moved since training.")
]
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]
Cache = Annotated[Path, typer.Option(help="Folder for the crops.")]
Size = Annotated[int, typer.Option(help="Side of the crops in pixels.")]
Margin = Annotated[float, typer.Option(help="Side of the crops divided by the size of the face.")]
Views = Annotated[
    int,
    typer.Option(
        min=1,
        help="Crops of each face in the cache: one at the service's margin, the others at random ones. Settings with "
        "service_view_share=1, as the paper's, read the first alone.",
    ),
]
Workers = Annotated[int, typer.Option(help="Number of processes that cut crops.")]
Config = Annotated[
    str | None,
    typer.Option(
        help="YAML file, or a built-in one: `paper` or `paper_mean` for the paper's settings; by default the default "
        "recipe."
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE; overrides --config; may be repeated.")]
HoldOut = Annotated[
    list[str] | None, typer.Option(help="Domain to keep out of training and to report on; may be repeated.")
]
Init = Annotated[
    Path | None,
    typer.Option(help="Weights to start from (.pth, .npz), or the folder of a run; by default random weights."),
]


@contextmanager
def explained() -> Iterator[None]:
    """Show what is wrong with the data, the settings or the run, without a traceback."""
    try:
        yield
    except (TrainingError, ValidationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted; the same command goes on (training: with --resume)", err=True)
        raise typer.Exit(130) from error


def warn_of_random_weights(config: str | None, init: Path | None) -> None:
    """The paper's settings, a rate of 0.0003 without warm-up, are for networks that know pictures already."""
    if config in ("paper", "paper_mean") and init is None:
        typer.echo(
            "warning: the paper's settings start from ImageNet weights (--init); from random weights they learn little",
            err=True,
        )


def crops_of(
    data: Sequence[str],
    cache: Path,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    clip: ClipSpec,
    views: int,
    workers: int,
) -> "CropSet":
    """The crops of some data as the command line names them, cut where the cache lacks them."""
    from liveness_training.data.crops import prepare_all
    from liveness_training.data.datasets import parse_source

    sources = [parse_source(text) for text in data]
    return prepare_all(
        sources, cache, preprocess=preprocess, detector=detector, clip=clip, views=views, workers=workers
    )


def crops_of_run(folder: "RunFolder", data: Sequence[str] | None, cache: Path | None, workers: int) -> "CropSet":
    """The crops that a run was trained and reported on; its data and cache may have moved."""
    where = (data or folder.data, cache or folder.cache)
    return crops_of(*where, folder.preprocess, folder.detector, folder.clip, folder.views, workers)


def check_views(config: "TrainConfig", views: int) -> None:
    """Refuse to train on crops that the cache will not hold; say where it will hold crops that nothing reads."""
    from liveness_training.config import ConfigError

    if views == 1 and config.service_view_share < 1:
        raise ConfigError(
            f"service_view_share is {config.service_view_share:g}, but with --views 1 there are no crops at other "
            "margins: set service_view_share=1, or leave out --views"
        )
    if views > 1 and config.service_view_share == 1:
        typer.echo(
            f"note: these settings read the first of the {views} crops that the cache holds of each face; --views 1 "
            f"takes one part in {views} of the room",
            err=True,
        )
