"""`liveness`: serve the API, or score files without a server."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer

from liveness_service.access.policy import AccessError
from liveness_service.api.schemas import ClipResponse, LivenessResponse, answer_of
from liveness_service.app import create_app
from liveness_service.cli_audit import audit
from liveness_service.cli_keys import keys
from liveness_service.cli_models import models
from liveness_service.decoding.kinds import clip_kind
from liveness_service.errors import InvalidParameterError, ServiceError
from liveness_service.http.serve import serve_until_stopped
from liveness_service.observability.logs import configure_logging
from liveness_service.observability.metrics import Metrics
from liveness_service.platforms import without_effect
from liveness_service.service import LivenessService
from liveness_service.settings import Settings, SettingsError, read_settings, settings_table, unknown_variables
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(audit)
app.add_typer(keys)
app.add_typer(models)
log = structlog.get_logger("liveness_service")

Bundle = Annotated[Path | None, typer.Option(help="Folder of the model bundle. Not given: the default bundle.")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of LIVENESS_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, instead of LIVENESS_PORT or PORT; 0 takes a free one.")
    ] = None,
    bundle: Bundle = None,
) -> None:
    """Serve the API until a signal stops it. Every setting is an environment variable; see docs/settings.md."""
    settings = _settings(host=host, port=port, bundle_path=bundle)
    configure_logging(settings)
    for name in unknown_variables(os.environ):
        log.warning("unknown_setting", variable=name, note="it has no effect: check its spelling")
    for name, why in without_effect(os.environ, settings.port).items():
        log.warning("variable_without_effect", variable=name, note=why)
    try:
        application = create_app(settings)
    except AccessError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    # Uvicorn shuts down in good order and then raises the signal again for the handler that was there before. This
    # handler ends the process with status 0, since a stop is not a failure.
    signal.signal(signal.SIGTERM, _exit_without_error)
    serve_until_stopped(application, application.state.service, settings)


@app.command()
def score(
    files: Annotated[list[Path], typer.Argument(help="Images and clips; the content tells which a file is.")],
    operating_point: Annotated[str | None, typer.Option(help="Name of a threshold of the bundle.")] = None,
    faces: Annotated[FacePolicy, typer.Option(help="Which faces count.")] = FacePolicy.SINGLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON, one line a file.")] = False,
    bundle: Bundle = None,
) -> None:
    """Score image files and clips.

    Exit status: 0 if all files are live, 1 if one is spoof or undetermined, 2 if one could not be scored.
    """
    settings = _settings(bundle_path=bundle, log_level="error", workers=0)  # the files are the user's own
    configure_logging(settings)
    options = ScoreOptions(operating_point, faces)
    raise typer.Exit(asyncio.run(_score_files(files, settings, options, as_json=as_json)))


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


async def _score_files(files: list[Path], settings: Settings, options: ScoreOptions, *, as_json: bool) -> int:
    status = 0
    async with _started(settings) as service:
        if service.fault is not None:
            typer.echo(f"no model: {service.fault.file}: {service.fault.reason}", err=True)
            return 2
        for path in files:
            try:
                answer = await _score_file(service, path, options)
            except (ServiceError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                typer.echo(f"{path}: {reason}", err=True)
                status = 2
                continue
            status = max(status, 0 if answer.verdict == "live" else 1)
            typer.echo(_as_json(path, answer) if as_json else _as_line(path, answer))
    return status


async def _score_file(service: LivenessService, path: Path, options: ScoreOptions) -> LivenessResponse | ClipResponse:
    content = path.read_bytes()  # noqa: ASYNC240 (nothing else runs meanwhile)
    is_clip = clip_kind(content) is not None
    if is_clip and options.faces is FacePolicy.ALL:
        raise InvalidParameterError("faces: a clip shows one person, so use single or largest")
    submission = Submission(Endpoint.CLIP if is_clip else Endpoint.PHOTO, content, options)
    return answer_of(str(path), await service.score(submission), service.model())


@asynccontextmanager
async def _started(settings: Settings) -> AsyncIterator[LivenessService]:
    service = LivenessService(settings, Metrics())
    await service.start()
    try:
        yield service
    finally:
        await service.close()


def _as_json(path: Path, answer: LivenessResponse | ClipResponse) -> str:
    return json.dumps({"file": str(path), **answer.model_dump(mode="json", exclude={"request_id"})})


def _as_line(path: Path, answer: LivenessResponse | ClipResponse) -> str:
    score = "no score" if answer.score is None else f"score {answer.score:.3f}"
    reasons = f" ({', '.join(answer.reasons)})" if answer.reasons else ""
    point = f"threshold {answer.threshold:.3f}, {answer.operating_point}"
    return f"{path}: {answer.verdict.value}{reasons}, {score}, {point}"


if __name__ == "__main__":
    app()
