"""Commands of `liveness-train` for the paper's tables and figures."""

from pathlib import Path
from typing import Annotated

import typer

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.cli_options import (
    Cache,
    Config,
    Data,
    DataAgain,
    HoldOut,
    Init,
    Margin,
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
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Runs of each row and target, with seeds that follow each other: mean ± deviation."),
    ] = 1,
    init: Init = None,
    cache: Cache = Path("cache"),
    size: Size = 224,
    margin: Margin = 2.7,
    views: Views = 4,
    workers: Workers = 2,
) -> None:
    """Train the rows of the paper's table 3 or 4 on all its protocols and print its figures beside ours."""
    from liveness_training.config import TrainConfig, load_config
    from liveness_training.data.crops import CropSet
    from liveness_training.evaluation.figures import Report
    from liveness_training.runs import ablation
    from liveness_training.runs.ablation_table import as_markdown
    from liveness_training.runs.folder import RunFolder
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
        return RunPlan(
            folder,
            settings,
            preprocess,
            detector,
            init=init,
            resume=resume,
            data=tuple(data),
            cache=cache,
            views=views,
        )

    def run_one(crops: CropSet, settings: TrainConfig, folder: Path) -> Report:
        typer.echo(f"{folder}", err=True)
        return train_run(crops, plan_of(settings, folder, resume=(folder / "run.json").exists()))

    def check(settings: TrainConfig, folder: Path) -> None:
        plan = plan_of(settings, folder, resume=True)
        plan.claim_folder(plan.checked_teacher())
        if (made_from := RunFolder.read(folder).data) != tuple(data):
            typer.echo(f"warning: {folder} was made from {', '.join(made_from) or 'other data'}", err=True)

    warn_of_random_weights(config, init)
    with explained():
        base = load_config(config, set_ or [])
        check_views(base, views)
        crops = crops_of(data, cache, preprocess, detector, base.clip, views, workers)
        domains = {sample.domain for sample in crops.samples if not sample.live}
        protocols = ablation.protocols_of(chosen, domains, hold_out or [])
        name = f"table{table}.json"
        results = ablation.run_rows(rows, protocols, base, crops, runs, run_one, check, seeds=seeds, results_file=name)
    typer.echo(as_markdown(chosen, rows, results))


def features(
    baseline: Annotated[Path, typer.Argument(help="Folder of a run without the method.")],
    full: Annotated[Path, typer.Argument(help="Folder of a run with it, on the same sources and target.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("features.png"),
    data: DataAgain = None,
    cache: Path | None = None,
    workers: Workers = 2,
) -> None:
    """Draw the embeddings of two runs side by side, as in the paper's Figure 4.

    (a) the baseline, sources and target; (b) the full model, sources alone; (c) the same with the target.
    """
    from liveness_training.report.features import compared
    from liveness_training.report.plots import figure_4
    from liveness_training.runs.folder import RunFolder

    with explained():
        folders = RunFolder.read(baseline), RunFolder.read(full)
        crops = [crops_of_run(folder, data, cache, workers) for folder in folders]
        pictures = compared(*folders, *crops)
    out.write_bytes(figure_4(*pictures))
    typer.echo(f"written: {out}")
