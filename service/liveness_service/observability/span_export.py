"""Sends spans by OTLP over HTTP. Only this module needs the extra `tracing`."""

import threading
from collections.abc import Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import liveness_core
from liveness_service.observability.tracing import Tracing
from liveness_service.settings import Settings

log = structlog.get_logger(__name__)

_FLUSH_S = 5.0
"""Longest wait for the collector when the service stops; LIVENESS_SHUTDOWN_GRACE_MS where that is shorter."""


def exporting(settings: Settings) -> Tracing:
    """Make a tracing that sends its spans in a thread. The `OTEL_` variables set endpoint, headers, sampler, limits."""
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the names given here.
    resource = Resource.create({SERVICE_NAME: "face-liveness", SERVICE_VERSION: liveness_core.__version__}).merge(
        OTELResourceDetector().detect()
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OutageReporter(OTLPSpanExporter())))
    wait_s = min(_FLUSH_S, settings.shutdown_grace_ms / 1000)
    return Tracing(provider.get_tracer("liveness_service", liveness_core.__version__), lambda: flush(provider, wait_s))


def flush(provider: TracerProvider, seconds: float) -> None:
    """Send the remaining spans and stop; spans that the collector does not take within `seconds` are lost."""
    # The SDK alone would wait for 30 s. A daemon thread does not keep the process from ending.
    stopping = threading.Thread(target=provider.shutdown, name="flush-spans", daemon=True)
    stopping.start()
    stopping.join(seconds)
    if stopping.is_alive():
        log.warning("spans_lost", note=f"the collector did not take all spans within {seconds:g} s of the stop")


class OutageReporter(SpanExporter):
    """Sends spans through another exporter; logs once when that begins to fail, and once when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called in the exporting thread."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("spans_sent_again", lost=self._lost)
            self._lost = 0
        else:
            if not self._lost:
                log.warning(
                    "spans_not_sent",
                    note="check the collector, OTEL_EXPORTER_OTLP_ENDPOINT and its headers; logged once until it works",
                )
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop the other exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Let the other exporter send the spans that it holds."""
        return self._exporter.force_flush(timeout_millis)
