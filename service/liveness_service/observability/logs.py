"""Sets up the log: readable in a terminal, JSON for machines, one line for each answered request."""

import logging
import sys
from typing import Any

import structlog

from liveness_service.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send every log line, the service's and uvicorn's, through one formatter to standard error."""
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
                # Rich's formatter would show local variables: the headers with the access key, the picture's bytes.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    # Nobody reads these of a record, and to find them takes a tenth of the time of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # `debug` holds for the service's own loggers only: Pillow's debug lines quote a photo's EXIF data, which may say
    # where it was taken.
    root.setLevel(max(level, logging.INFO))
    for name in ("liveness_core", "liveness_service"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # OpenTelemetry's exporter repeats its warning while the collector is away, and any caller can make its reader of
    # headers warn. `span_export` logs once what an operator needs to know.
    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.trace"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # The service's own line for each request says more, and carries the request id.
    logging.getLogger("uvicorn.access").disabled = True
