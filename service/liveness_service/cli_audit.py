"""`liveness audit`: check an audit log."""

import re
import zlib
from pathlib import Path
from typing import Annotated

import typer

from liveness_service.audit.chain import read_key
from liveness_service.audit.verify import verify as check

audit = typer.Typer(name="audit", no_args_is_help=True, help="The audit log.")


@audit.callback()
def _audit() -> None:
    """The audit log."""  # with this, one command stays a sub-command


@audit.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="All files of the log, in any order; .gz is decompressed.")],
    key_file: Annotated[
        list[Path] | None, typer.Option(help="File with the key (LIVENESS_AUDIT_KEY_FILE); again for an older key.")
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="Hash that was kept elsewhere: it must be that of a line, or of the one before the first."),
    ] = None,
    allow_unsealed: Annotated[
        bool, typer.Option(help="Accept lines without a seal before the first sealed one: older versions wrote them.")
    ] = False,
) -> None:
    """Find changed, missing, swapped, added and cut lines of an audit log, and name them.

    Prints the last line's hash of each chain: keep it elsewhere, and give it as --anchor next time. Exit status: 0 if
    the log is whole, 1 if it is not, 2 if it cannot be read.
    """
    anchors = [text.lower() for text in anchor or ()]
    if wrong := [text for text in anchors if not re.fullmatch("[0-9a-f]{64}", text)]:
        raise _unusable(f"--anchor {wrong[0]}: not a hash of 64 hexadecimal digits")
    try:
        keys = [read_key(path) for path in key_file or ()]
        report = check(files, keys=keys, anchors=anchors, allow_unsealed=allow_unsealed)
    except (ValueError, EOFError, zlib.error) as error:
        raise _unusable(str(error)) from error
    except OSError as error:
        raise _unusable(f"{error.filename or 'a file'} cannot be read ({error.strerror or error})") from error
    for fault in report.faults:
        typer.echo(fault)
    if report.unsealed:
        typer.echo(f"{report.unsealed} lines without a seal were accepted: nothing protects them")
    for chain in report.chains:
        numbers = f"number {chain.first} to {chain.head.seq}"
        typer.echo(f"chain {chain.chain}: {chain.lines} lines, {numbers}, last hash {chain.head.hash}")
    if not report.chains:
        typer.echo("no sealed line was found")
    raise typer.Exit(1 if report.faults or not report.chains else 0)


def _unusable(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)
