"""Starts tracing as the settings say."""

from liveness_service.observability.tracing import Tracing
from liveness_service.settings import Settings


def start_tracing(settings: Settings) -> Tracing:
    """Tracing as it is set; only where it is on is OpenTelemetry's SDK imported and its exporter started."""
    if not settings.tracing:
        return Tracing()
    from liveness_service.observability.span_export import exporting

    return exporting(settings)
