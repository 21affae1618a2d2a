"""`liveness keys`: make access keys."""

from typing import Annotated

import typer

from liveness_service.keys import new_key, parse_permissions

keys = typer.Typer(name="keys", no_args_is_help=True, help="Access keys of the API.")


@keys.callback()
def _keys() -> None:
    """Access keys of the API."""  # with this, one command stays a sub-command


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the caller, as logs, metrics and the audit log will show it.")],
    permissions: Annotated[str, typer.Option(help="score, operations or score+operations.")] = "score",
) -> None:
    """Make a key. Its entry for LIVENESS_API_KEYS goes to standard output, the key itself to standard error.

    The key is shown only now and is stored nowhere. `liveness keys new backend >> keys` adds the entry to a file and
    leaves the key on the screen.
    """
    try:
        key, entry = new_key(name, parse_permissions(permissions))
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    typer.echo(f"key {name}, to give to whoever calls the service; it is shown only now:", err=True)
    typer.echo(key, err=True)
    typer.echo("entry for LIVENESS_API_KEYS or its file; it does not contain the key, but keep it private:", err=True)
    typer.echo(str(entry))
