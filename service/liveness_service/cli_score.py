"""`liveness score`: photos, clips and folders of them, without a server."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from liveness_service.cli_gallery import Card, gallery
from liveness_service.cli_lines import Form, csv_header, csv_line, json_line, line, table
from liveness_service.errors import ModelUnavailableError, ServiceError
from liveness_service.files import FileResult, NoFilesError, at_once, find_files, score_files, started
from liveness_service.results import Verdict
from liveness_service.scoring.model import Model
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, ScoreOptions
from liveness_service.thumbnails import thumbnail


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of `liveness score`."""

    given: Sequence[str]
    """Files, folders, patterns or `-`, as they were written."""
    options: ScoreOptions
    form: Form
    recursive: bool = False
    report: Path | None = None
    """Where the page with thumbnails goes; None makes none."""
    pictures: bool = True
    """Whether the page has thumbnails."""


def score(wanted: Wanted, settings: Settings) -> int:
    """Score what was asked for and print it; gives the exit status.

    0 if all files are live, 1 if one is spoof or undetermined, 2 if one could not be scored or nothing can be done.
    """
    if (report := wanted.report) is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        what = "is a folder: name a file" if report.is_dir() else "cannot be written: its folder does not exist"
        typer.echo(f"--report {report} {what}", err=True)
        return 2
    return asyncio.run(_score(wanted, settings))


async def _score(wanted: Wanted, settings: Settings) -> int:
    names, missing = _files(wanted)
    try:
        async with started(settings) as service:
            service.registry.active().pipeline(Endpoint.PHOTO).operating_point(wanted.options.operating_point)
            results, cards = await _results(wanted, settings, service, names, missing)
            manifest = service.model().bundle.manifest
    except ModelUnavailableError as error:
        typer.echo(f"no model: {error}", err=True)
        return 2
    except ServiceError as error:
        typer.echo(str(error), err=True)
        return 2
    if wanted.form is Form.TABLE:
        typer.echo("\n".join(table(results)))
    if wanted.report is not None:
        page = gallery(cards, manifest, datetime.now().astimezone())
        try:
            wanted.report.write_text(page, encoding="utf-8")
        except OSError as error:
            typer.echo(f"--report {wanted.report} cannot be written: {error.strerror}", err=True)
            return 2
        typer.echo(f"report: {wanted.report}", err=True)
    return max(_status(scored) for scored in results)


def _files(wanted: Wanted) -> tuple[list[str], dict[str, NoFilesError]]:
    """The files to score, in order, and what stands for none, which keeps its place among them."""
    names, missing = [], {}
    own = [] if wanted.report is None else [wanted.report]
    for given in wanted.given:
        try:
            names += find_files(given, recursive=wanted.recursive, leave_out=own)
        except NoFilesError as error:
            missing[given] = error
            names.append(given)
    return names, missing


async def _results(
    wanted: Wanted, settings: Settings, service: LivenessService, names: list[str], missing: dict[str, NoFilesError]
) -> tuple[list[FileResult], list[Card]]:
    """The results of all files, printed as they come, and their cards if there is to be a page."""
    results, cards = [], []
    show = _printer(wanted.form, service.model())
    there = [name for name in names if name not in missing]
    scored = score_files(service, there, wanted.options, at_once=at_once(settings, there))
    with ExitStack() as held:
        advance = _progress(held, len(names), quiet=wanted.form is not Form.TABLE and sys.stdout.isatty())
        async with aclosing(scored):
            for name in names:
                if (error := missing.get(name)) is not None:
                    found = FileResult(name, Endpoint.PHOTO, error=error)
                else:
                    found = await anext(scored)
                show(found)
                results.append(found)
                if wanted.report is not None:
                    seen = await asyncio.to_thread(thumbnail, found, settings) if wanted.pictures else None
                    cards.append(Card(found, seen))
                advance()
    return results, cards


def _printer(form: Form, model: Model) -> Callable[[FileResult], None]:
    """What prints one result in this form. What could not be scored also goes to standard error, but in a table."""
    if form is Form.CSV:
        typer.echo(csv_header())

    def show(found: FileResult) -> None:
        if found.result is None and form is not Form.TABLE:
            typer.echo(line(found), err=True)
        if form is Form.JSON:
            typer.echo(json_line(found, model))
        elif form is Form.CSV:
            typer.echo(csv_line(found))
        elif form is Form.LINES and found.result is not None:
            typer.echo(line(found))

    return show


def _progress(held: ExitStack, count: int, *, quiet: bool) -> Callable[[], None]:
    """A bar on standard error, where that is a terminal and the results do not scroll by on it themselves."""
    if quiet or count < 2 or not sys.stderr.isatty():
        return lambda: None
    bar = held.enter_context(typer.progressbar(length=count, label="scoring", file=sys.stderr, show_pos=True))
    return lambda: bar.update(1)


def _status(scored: FileResult) -> int:
    if scored.result is None:
        return 2
    return 0 if scored.result.verdict is Verdict.LIVE else 1
