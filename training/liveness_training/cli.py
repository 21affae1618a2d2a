"""`liveness-train`: from labelled faces to a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.errors import TrainingError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Data = Annotated[Path, typer.Argument(help="Folder with index.csv and the pictures that it names.")]
Cache = Annotated[Path, typer.Option(help="Folder for the crops.")]


class ExportedPrecision(StrEnum):
    """Precisions that `export` writes."""

    INT8 = "int8"
    FP32 = "fp32"


@contextmanager
def _explained() -> Iterator[None]:
    """Tell what is wrong with the data, the settings or the run, instead of where in the code it was noticed."""
    try:
        yield
    except (TrainingError, ValidationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@app.command()
def prepare(data: Data, cache: Cache = Path("cache"), workers: int = 2) -> None:
    """Find the faces and cut their crops, once; training then reads them."""
    from liveness_training.data.crops import prepare as cut

    with _explained():
        crops = cut(data, cache, preprocess=PreprocessSpec(), detector=DetectorSpec(), workers=workers)
    typer.echo(f"{len(crops.samples)} faces; in {len(crops.missed)} pictures none was found")
    for domain in sorted({sample.domain for sample in crops.missed}):
        typer.echo(f"  {domain}: none in {sum(sample.domain == domain for sample in crops.missed)}")


@app.command()
def train(
    data: Data,
    run: Annotated[Path, typer.Option(help="Folder of the run; made where it does not exist.")],
    init: Annotated[Path | None, typer.Option(help="Weights to start from (.npz); from scratch without.")] = None,
    cache: Cache = Path("cache"),
    hold_out: Annotated[str | None, typer.Option(help="Domain to keep out of training and report on.")] = None,
    steps: int = 500,
    batch_size: int = 48,
    seed: int = 1,
    workers: int = 2,
) -> None:
    """Train live against spoof and report AUC, EER and HTER."""
    from liveness_training import run as runs
    from liveness_training.config import TrainConfig
    from liveness_training.data.crops import prepare as cut
    from liveness_training.evaluation.report import as_table

    preprocess, detector = PreprocessSpec(), DetectorSpec()
    with _explained():
        config = TrainConfig(hold_out=hold_out, steps=steps, batch_size=batch_size, seed=seed)
        crops = cut(data, cache, preprocess=preprocess, detector=detector, workers=workers)
        report = runs.train(crops, config, run, preprocess=preprocess, detector=detector, init=init, workers=workers)
    typer.echo(as_table(report))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    data: Annotated[Path, typer.Option(help="The data that the run was trained on.")],
    cache: Cache = Path("cache"),
    workers: int = 2,
) -> None:
    """Compute a run's figures again, as its training did in the end."""
    from liveness_training.data.crops import prepare as cut
    from liveness_training.evaluation.report import as_table
    from liveness_training.protocols import make_protocol
    from liveness_training.run import evaluate as figures
    from liveness_training.run_folder import RunFolder

    with _explained():
        folder = RunFolder.read(run)
        crops = cut(data, cache, preprocess=folder.preprocess, detector=folder.detector, workers=workers)
        protocol = make_protocol(crops.samples, crops.missed, folder.config.hold_out)
        report = figures(folder.network(), crops, protocol, run, folder.preprocess)
    typer.echo(as_table(report))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle; its name is the bundle's.")],
    data: Annotated[Path, typer.Option(help="The data that the run was trained on.")],
    cache: Cache = Path("cache"),
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    precision: Annotated[
        list[ExportedPrecision] | None, typer.Option(help="One or both; the first is the default.")
    ] = None,
    held_out: Annotated[list[Path] | None, typer.Option(help="Run of the same recipe that kept a domain out.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="DOMAIN=TERMS, for each domain.")] = None,
    workers: int = 2,
) -> None:
    """Make a run into a bundle that the service loads."""
    from liveness_training.data.crops import prepare as cut
    from liveness_training.evaluation.report import as_table
    from liveness_training.export import export_bundle
    from liveness_training.run_folder import RunFolder

    with _explained():
        folder = RunFolder.read(run)
        crops = cut(data, cache, preprocess=folder.preprocess, detector=folder.detector, workers=workers)
        manifest = export_bundle(
            folder,
            crops,
            bundle,
            name=bundle.resolve().name,
            version=version,
            precisions=[each.value for each in precision or [ExportedPrecision.INT8]],
            held_out=[RunFolder.read(path) for path in held_out or []],
            licences=dict(entry.split("=", 1) for entry in licence or []),
        )
    typer.echo(as_table(manifest.metrics))


if __name__ == "__main__":
    app()
