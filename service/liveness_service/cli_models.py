"""`liveness models`: list and check bundles, and give them roles in a running service."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from liveness_core.bundle import Bundle, BundleError, load_bundle
from liveness_service.registry.store import BundleStore
from liveness_service.scoring.model import trusted_keys
from liveness_service.settings import Settings

models = typer.Typer(
    name="models", no_args_is_help=True, help="List and check bundles, and give them roles in a running service."
)

Url = Annotated[str, typer.Option(envvar="LIVENESS_CLIENT_URL", help="Address of the running service.")]
Key = Annotated[
    str,
    typer.Option(envvar="LIVENESS_CLIENT_KEY", help="Access key with the permission `operations`.", show_default=False),
]
Model = Annotated[str, typer.Argument(help="Name of the bundle's folder; @ and its manifest's SHA-256 may follow.")]
_LOCAL_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 300
"""Seconds to wait for an answer: the service first fetches, verifies and warms up a bundle, which may be large."""


@models.command("list")
def list_models(
    url: Url = _LOCAL_URL,
    key: Key = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")] = False,
) -> None:
    """List the bundles that have a role, and all bundles of the store."""
    found = _ask("GET", url, key)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for role in ("active", "canary", "shadow", "previous"):
        if (holder := found[role]) is not None:
            share = "" if holder["share"] is None else f", {holder['share']:.0%} of the requests"
            where = holder["model"] or "built in"
            typer.echo(f"{role:<9} {where}: {holder['name']} {holder['version']}, {holder['precision']}{share}")
    for stored in found["available"]:
        what = stored["fault"] or f"{stored['name']} {stored['version']}"
        typer.echo(f"{'':<9} {stored['model']}: {what}")


@models.command()
def verify(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or the name of one in LIVENESS_MODELS_URL.")],
    public_keys: Annotated[
        Path | None, typer.Option(help="Keys that must have signed it, instead of LIVENESS_BUNDLE_PUBLIC_KEYS.")
    ] = None,
) -> None:
    """Check a bundle as the service does when it loads one: signature, hashes, tensors, golden scores.

    Exit status: 0 if the bundle passes, 1 if it does not.
    """
    loaded = _verified(bundle, public_keys or Settings().bundle_public_keys)
    manifest = loaded.manifest
    precisions = ", ".join(variant.precision for variant in manifest.variants)
    signed = f", signed by {loaded.signed_by}" if loaded.signed_by is not None else ""
    typer.echo(
        f"{bundle}: {manifest.name} {manifest.version} ({precisions}), sha256 {manifest.manifest_sha256}{signed}"
    )


@models.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    key: Annotated[Path, typer.Option(help="PEM file of the private key: P-256, P-384 or P-521.")],
    passphrase: Annotated[
        str | None,
        typer.Option(envvar="LIVENESS_SIGNING_PASSPHRASE", help="Of the key, if it has one.", show_default=False),
    ] = None,
) -> None:
    """Check a bundle as `verify` does and write its signature, `model.sig`, into its folder. Needs no network.

    Exit status: 0 if it is signed, 1 if the bundle does not pass, 2 if the key cannot be used.
    """
    from liveness_core.bundle.signature import KeyFileError, read_private_key, sign_bundle

    try:
        private_key = read_private_key(key, passphrase)
        _verified(str(bundle), None)
        signer = sign_bundle(bundle, private_key)
    except KeyFileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except BundleError as error:
        raise _refused(str(bundle), error) from error
    typer.echo(f"{bundle}: signed by {signer}")


@models.command()
def activate(
    model: Model,
    url: Url = _LOCAL_URL,
    key: Key = "",
    force: Annotated[
        bool, typer.Option(help="Even if it lacks operating points, or clips, that the active bundle has.")
    ] = False,
) -> None:
    """Make a bundle the active one, which decides."""
    _report(_ask("PUT", url, key, "/active", {"model": model}, force=force))


@models.command()
def rollback(url: Url = _LOCAL_URL, key: Key = "") -> None:
    """Let the previous bundle decide again."""
    _report(_ask("POST", url, key, "/rollback"))


@models.command()
def canary(
    model: Annotated[str | None, typer.Argument(help="Name of the bundle's folder.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests.")] = 0.05,
    off: Annotated[bool, typer.Option("--off", help="End the canary.")] = False,
    url: Url = _LOCAL_URL,
    key: Key = "",
) -> None:
    """Let a bundle decide on a share of the requests."""
    _report(_share("/canary", model, share, off, url, key))


@models.command()
def shadow(
    model: Annotated[str | None, typer.Argument(help="Name of the bundle's folder.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests.")] = 0.1,
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
    url: Url = _LOCAL_URL,
    key: Key = "",
) -> None:
    """Let a bundle score a share of the requests without deciding; it only reports."""
    _report(_share("/shadow", model, share, off, url, key))


def _verified(bundle: str, public_keys: Path | None) -> Bundle:
    """Load every precision; exits with 1 if one of them does not pass."""
    try:
        trusted = trusted_keys(public_keys)
        path = _folder(bundle)
        loaded = load_bundle(path, trusted=trusted)
        for variant in loaded.manifest.variants[1:]:
            load_bundle(path, precision=variant.precision, trusted=trusted)
    except BundleError as error:
        raise _refused(bundle, error) from error
    return loaded


def _refused(bundle: str, error: BundleError) -> typer.Exit:
    where = "" if error.file == bundle else f"{error.file}: "
    typer.echo(f"{bundle}: {where}{error.reason}", err=True)
    return typer.Exit(1)


def _folder(bundle: str) -> Path:
    settings = Settings()
    if Path(bundle).is_dir():
        return Path(bundle)
    if settings.models_url is None:
        raise BundleError(bundle, "there is no such folder, and no store to look in: set LIVENESS_MODELS_URL")
    return BundleStore(settings.models_url, settings.models_cache).fetch(bundle)


def _share(path: str, model: str | None, share: float, off: bool, url: str, key: str) -> dict[str, Any]:
    if off:
        return _ask("DELETE", url, key, path)
    if model is None:
        typer.echo("name a bundle to give it the role, or end the role with --off", err=True)
        raise typer.Exit(2)
    return _ask("PUT", url, key, path, {"model": model, "share": share})


def _ask(
    method: str, url: str, key: str, path: str = "", content: dict[str, Any] | None = None, *, force: bool = False
) -> dict[str, Any]:
    import httpx  # here, since `serve` has no use for it, and it takes a tenth of the start

    try:
        answer = httpx.request(
            method,
            f"{url.rstrip('/')}/v1/operations/models{path}",
            json=content,
            params={"force": "true"} if force else None,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=_TIMEOUT_S,
        )
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        typer.echo(f"{url}: {error}: check --url and that the service runs", err=True)
        raise typer.Exit(2) from error
    if answer.is_error:
        typer.echo(f"{found.get('title')}: {found.get('detail')}", err=True)
        raise typer.Exit(1)
    return found


def _report(roles: dict[str, Any]) -> None:
    for role in ("active", "canary", "shadow", "previous"):
        if (holder := roles[role]) is not None:
            typer.echo(f"{role}: {holder['name']} {holder['version']}")
