"""Logs: readable in a terminal, JSON for machines; one line for each answered request."""

import logging
import sys
from typing import Any

import structlog

from liveness_service.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send every log line, ours and uvicorn's, through one formatter to standard error."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                timestamp_key="time",
                # Rich's would show local variables: the request's headers with their key, the picture's bytes.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # `debug` is for ours: Pillow's debug lines hold what a photo's EXIF says, its place included.
    root.setLevel(max(level, logging.INFO))
    for name in ("liveness_core", "liveness_service"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # An exporter whose collector is away repeats itself, and a caller can make the reader of headers warn: what an
    # operator needs of it, `span_export` says once.
    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.trace"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ours says more, and carries the request id.
    logging.getLogger("uvicorn.access").disabled = True
