"""Starts tracing if the settings ask for it."""

from liveness_service.observability.tracing import Tracing
from liveness_service.settings import Settings


def start_tracing(settings: Settings) -> Tracing:
    """Make the tracing that the settings ask for. OpenTelemetry's SDK is imported and started only if it is on."""
    if not settings.tracing:
        return Tracing()
    from liveness_service.observability.span_export import exporting

    return exporting(settings)
