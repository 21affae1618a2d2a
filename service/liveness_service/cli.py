"""`liveness`: serve the API, or score files without a server."""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import liveness_core
from liveness_service.cli_audit import audit
from liveness_service.cli_keys import keys
from liveness_service.cli_models import models
from liveness_service.settings import Settings, SettingsError, read_settings, settings_table
from liveness_service.submission import FacePolicy, ScoreOptions

# What serves and scores is imported by its commands, so that help and completion need not wait for networks' libraries.

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.add_typer(audit)
app.add_typer(keys)
app.add_typer(models)

Bundle = Annotated[Path | None, typer.Option(help="Folder of the model bundle. Not given: the default bundle.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"liveness {liveness_core.__version__}")
        raise typer.Exit


@app.callback()
def _liveness(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """`liveness`: serve the API, or score files without a server."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of LIVENESS_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, instead of LIVENESS_PORT or PORT; 0 takes a free one.")
    ] = None,
    bundle: Bundle = None,
) -> None:
    """Serve the API until a signal stops it. Every setting is an environment variable; see docs/settings.md.

    Exit status: 0 when a signal has stopped it, 2 if it cannot start.
    """
    from liveness_service.cli_serve import CannotServeError, run

    settings = _settings(host=host, port=port, bundle_path=bundle)
    # Uvicorn shuts down in good order and then raises the signal again for the handler that was there before. This
    # handler ends the process with status 0, since a stop is not a failure.
    signal.signal(signal.SIGTERM, _exit_without_error)
    try:
        run(settings, os.environ)
    except CannotServeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def score(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Photos, clips, folders of them, patterns such as '*.jpg', or - for standard input. The content tells "
            "what a file is."
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also the folders inside folders; hidden ones never.")
    ] = False,
    operating_point: Annotated[str | None, typer.Option(help="Name of a threshold of the bundle.")] = None,
    faces: Annotated[FacePolicy, typer.Option(help="Which faces count.")] = FacePolicy.SINGLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON, one line a file.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header, one line a file.")] = False,
    as_table: Annotated[bool, typer.Option("--table", help="Print a table when all files are scored.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with thumbnails to this file. It holds people's faces.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Thumbnails in the report.")] = True,
    bundle: Bundle = None,
) -> None:
    """Score photos and clips. A line each goes to standard output; what could not be scored is told on standard error,
    and with --json, --csv and --table in its line.

    A score is the probability of live; a file is live where it is at or above the operating point's threshold.

    Exit status: 0 if all files are live, 1 if one is spoof or undetermined, 2 if one could not be scored or a folder is
    empty.
    """
    from liveness_service.cli_lines import Form
    from liveness_service.cli_score import Wanted
    from liveness_service.cli_score import score as score_them
    from liveness_service.observability.logs import configure_logging

    forms = [form for form, given in ((Form.JSON, as_json), (Form.CSV, as_csv), (Form.TABLE, as_table)) if given]
    if len(forms) > 1:
        raise typer.BadParameter(f"choose one of {', '.join(f'--{form}' for form in forms)}")
    settings = _settings(bundle_path=bundle, log_level="error", workers=0)  # the files are the user's own
    configure_logging(settings)
    form = forms[0] if forms else Form.LINES
    wanted = Wanted(files, ScoreOptions(operating_point, faces), form, recursive, report, pictures)
    raise typer.Exit(score_them(wanted, settings))


@app.command()
def calibrate(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Live people alone: a folder for each person in it, or files of a person each."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="CSV file in place of the folder: path, label (live, spoof), species, subject.")
    ] = None,
    refused: Annotated[
        float, typer.Option(min=0.01, max=50, help="Percent of live people that may be refused, without attacks.")
    ] = 5,
    apcer: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=50, help="With attacks: a point where at most this percent pass; may be repeated."),
    ] = None,
    bpcer: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=50, help="With attacks: a point where at most this percent of people are refused."),
    ] = None,
    cost_attack: Annotated[float, typer.Option(min=0, help="With attacks: cost of one that passes.")] = 1,
    cost_refused: Annotated[float, typer.Option(min=0, help="Cost of a live person who is refused.")] = 1,
    attack_prevalence: Annotated[
        float, typer.Option(min=0, max=1, help="Share of presentations that are attacks, 0 to 1.")
    ] = 0.5,
    write: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a new version of the bundle to a folder of this name.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Where to; not given: LIVENESS_MODELS_URL if it is a folder, else here.")
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the operating point; not given: that of --write.")
    ] = None,
    default: Annotated[
        bool | None,
        typer.Option(
            "--default/--no-default",
            help="Make it the bundle's default. Not given: yes, unless the default was calibrated before.",
        ),
    ] = None,
    faces: Annotated[FacePolicy, typer.Option(help="Which faces count.")] = FacePolicy.SINGLE,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with curves to this file.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Thumbnails of the worst files in the report.")
    ] = True,
    journal: Annotated[
        Path, typer.Option(help="File that keeps the scores, so that the same command goes on after a stop.")
    ] = Path("liveness-calibrate.jsonl"),
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Keep no scores.")] = False,
    bundle: Bundle = None,
) -> None:
    """Set a threshold on people before your own camera: from 20 or more live people, or from live people and attacks.

    docs/calibration.md says how, and what it promises. Only --write writes a bundle; the one in use never changes.

    Exit status: 0 if there is a threshold, 2 if there is none, 130 if it was interrupted.
    """
    from liveness_service.calibration.labelled import Costs
    from liveness_service.calibration.outcome import Wanted
    from liveness_service.cli_calibrate import Asked, target_place, targets
    from liveness_service.cli_calibrate import calibrate as calibrate_it
    from liveness_service.observability.logs import configure_logging

    if (folder is None) == (index is None):
        raise typer.BadParameter("name a folder of live people, or --index")
    data = folder or index
    assert data is not None
    # The files are the user's own, and nobody waits for an answer.
    settings = _settings(
        bundle_path=bundle, log_level="error", workers=0, deadline_ms=600_000, clip_deadline_ms=3_600_000
    )
    configure_logging(settings)
    costs = Costs(cost_attack, cost_refused, attack_prevalence)
    name = point or write or "calibrated"
    wanted = Wanted(name, data.resolve().name, refused / 100, costs, targets(apcer, bpcer))
    try:
        place = target_place(write, name, into, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    options = ScoreOptions(faces=faces)
    kept = None if no_journal else journal
    raise typer.Exit(calibrate_it(Asked(data, wanted, options, kept, report, pictures, place, default), settings))


@app.command()
def settings() -> None:
    """Print the table of docs/settings.md: every setting with its default and meaning."""
    typer.echo(settings_table())


def _exit_without_error(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _settings(**given: object) -> Settings:
    try:
        return read_settings(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
