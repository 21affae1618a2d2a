"""`liveness calibrate`: set a threshold on people before your own camera."""

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer

from liveness_core.bundle import BundleError, Manifest
from liveness_service.calibration.dataset import read_folder, read_index
from liveness_service.calibration.faces import CalibrationError, Case
from liveness_service.calibration.outcome import (
    WORDS,
    Labelled,
    Outcome,
    Wanted,
    conclude,
    operating_points,
)
from liveness_service.calibration.report import Shown, page, worst
from liveness_service.calibration.scoring import judge
from liveness_service.calibration.words import advice, table
from liveness_service.calibration.writing import calibrated, write_bundle
from liveness_service.cli_lines import printable
from liveness_service.errors import ModelUnavailableError
from liveness_service.files import score_file, started
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, ScoreOptions
from liveness_service.thumbnails import thumbnail

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""Short enough that a bundle's version can be made of it, with the old version before it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of `liveness calibrate`."""

    data: Path
    """A folder of live people, or an index."""
    wanted: Wanted
    options: ScoreOptions
    journal: Path | None
    report: Path | None = None
    pictures: bool = True
    write: Path | None = None
    """Folder of the new bundle; None writes none."""
    as_default: bool | None = None
    """Whether the point becomes the bundle's default; None: unless the default is a calibrated one already."""


def calibrate(asked: Asked, settings: Settings) -> int:
    """Calibrate and print it; gives the exit status: 0, 2 if it cannot be done, 130 after Ctrl-C."""
    try:
        _check_places(asked)
        cases = read_folder(asked.data) if asked.data.is_dir() else read_index(asked.data)
        asyncio.run(_calibrate(asked, cases, settings))
    except KeyboardInterrupt:
        again = "; the same command goes on from there" if asked.journal is not None else ""
        typer.echo(f"\nstopped: what was scored is kept{again}" if again else "\nstopped", err=True)
        return INTERRUPTED
    except ModelUnavailableError as error:
        typer.echo(f"no model: {error}", err=True)
        return 2
    except (CalibrationError, BundleError) as error:
        typer.echo(str(error), err=True)
        return 2
    return 0


def target_place(write: str | None, name: str, into: Path | None, settings: Settings) -> Path | None:
    """Folder of the new bundle; None where none is written.

    Raises:
        ValueError: a name is not one that bundles and operating points may have.
    """
    for given in filter(None, (write, name)):
        if not _NAME.fullmatch(given):
            raise ValueError(f"{given!r}: a name has letters, digits, dots, dashes and underscores, 60 at most")
    if write is None:
        return None
    store = settings.models_url
    return (into or Path(store if store is not None and "://" not in store else ".")) / write


def targets(apcer: Sequence[float] | None, bpcer: Sequence[float] | None) -> dict[str, float]:
    """Operating points by target rates, given in percent: name and share. By default those of every bundle."""
    if not apcer and not bpcer:
        apcer, bpcer = (10, 5, 1), (10, 5)
    given = {"apcer": apcer or (), "bpcer": bpcer or ()}
    return {f"{kind}{rate:g}": rate / 100 for kind, rates in given.items() for rate in rates}


def _check_places(asked: Asked) -> None:
    """Find what would fail in the end before hours of scoring."""
    if asked.write is not None and asked.write.exists():
        raise CalibrationError(f"{asked.write} exists: choose another name for --write")
    if (report := asked.report) is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise CalibrationError(f"--report {report} is a folder, or its folder does not exist: name a file")


async def _calibrate(asked: Asked, cases: list[Case], settings: Settings) -> None:
    async with started(settings) as service:
        bundle = service.model().bundle
        with ExitStack() as held:
            judged = await judge(service, cases, asked.options, asked.journal, _progress(held))
        outcome = conclude(judged, bundle.manifest, asked.wanted, datetime.now(UTC))
        _print(outcome)
        if asked.report is not None:
            shown = await _shown(service, outcome, asked)
            _write_report(asked.report, page(outcome, bundle.manifest, shown, pictures=asked.pictures))
        if asked.write is not None:
            manifest = _calibrated(asked, outcome, bundle.manifest)
            await asyncio.to_thread(write_bundle, bundle.path, manifest, asked.write)
            typer.echo(
                f"bundle: {asked.write}, {manifest.name} {manifest.version}, sha256 {manifest.manifest_sha256[:12]}, "
                f"default operating point {manifest.default_operating_point}"
            )


def _calibrated(asked: Asked, outcome: Outcome, manifest: Manifest) -> Manifest:
    photos, clips = (operating_points(outcome, endpoint) for endpoint in Endpoint)
    default = asked.as_default
    if default is None:
        default = manifest.operating_points[manifest.default_operating_point].calibration is None
    name = asked.wanted.name
    made = calibrated(manifest, name, photos, clips, name if default else None, outcome.now)
    if manifest.temporal is not None:
        for endpoint, own in ((Endpoint.PHOTO, photos), (Endpoint.CLIP, clips)):
            if not own:
                typer.echo(
                    f"{WORDS[endpoint]} were not calibrated: with {name} they keep the threshold of "
                    f"{manifest.default_operating_point}",
                    err=True,
                )
    return made


def _print(outcome: Outcome) -> None:
    for part in outcome.parts:
        rows = table(outcome, part)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        typer.echo(advice(outcome, part) + "\n")
        for row in rows:
            first, *rest = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            typer.echo("  ".join([first, *rest]).rstrip())
        if isinstance(part.found, Labelled):
            for name, why in part.found.left_out.items():
                typer.echo(f"left out: {outcome.wanted.name}-{name}: {why}")
        typer.echo("")
    for text in outcome.too_few.values():
        typer.echo(f"left out: {text}", err=True)
    if outcome.copies:
        typer.echo(f"{outcome.copies} files are copies of others and count once", err=True)
    for reason, count in outcome.undetermined.items():
        typer.echo(f"without a score: {count} files, {reason}", err=True)


async def _shown(service: LivenessService, outcome: Outcome, asked: Asked) -> dict[str, dict[str, list[Shown]]]:
    """The worst files with their thumbnails. They are looked at anew, since the journal holds no places of faces."""
    shown: dict[str, dict[str, list[Shown]]] = {}
    for part in outcome.parts:
        for heading, files in worst(part, outcome).items():
            for each in files:
                picture = None
                if asked.pictures:
                    found = await score_file(service, each.case.path, asked.options)
                    picture = await asyncio.to_thread(thumbnail, found, service.settings)
                shown.setdefault(WORDS[part.endpoint], {}).setdefault(heading, []).append(Shown(each, picture))
    return shown


def _write_report(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"--report {path} cannot be written: {error.strerror}") from error
    typer.echo(f"report: {printable(str(path))}", err=True)


def _progress(held: ExitStack) -> Callable[[int, int], None]:
    """A bar on standard error where that is a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        return _Lines().show
    bar = None

    def show(done: int, count: int) -> None:
        nonlocal bar
        if bar is None:
            shown = typer.progressbar(length=count, label="scoring", file=sys.stderr, show_pos=True)
            bar = held.enter_context(shown)
        bar.update(done - bar.pos)

    return show


class _Lines:
    """Progress for logs: at the start, and at each tenth."""

    def __init__(self) -> None:
        self._tenth = -1

    def show(self, done: int, count: int) -> None:
        """Say how far it is, if a tenth more is done."""
        tenth = 10 * done // max(count, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            typer.echo(f"{done} of {count} files have an answer", err=True)
