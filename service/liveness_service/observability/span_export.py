"""Sending spans by OTLP over HTTP. Only this module needs the extra `tracing`."""

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
"""Longest wait for a collector at the end; within `LIVENESS_SHUTDOWN_GRACE_MS` where that is shorter."""


def exporting(settings: Settings) -> Tracing:
    """Tracing whose spans a thread of its own sends; endpoint, headers, sampler, limits: the `OTEL_` variables."""
    # Of the environment what is set wins: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
    resource = Resource.create({SERVICE_NAME: "face-liveness", SERVICE_VERSION: liveness_core.__version__}).merge(
        OTELResourceDetector().detect()
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OutageReporter(OTLPSpanExporter())))
    wait_s = min(_FLUSH_S, settings.shutdown_grace_ms / 1000)
    return Tracing(provider.get_tracer("liveness_service", liveness_core.__version__), lambda: flush(provider, wait_s))


def flush(provider: TracerProvider, seconds: float) -> None:
    """Send what is left and stop; what a collector does not take in this time is lost."""
    # The SDK alone would wait for 30 s; a daemon does not hold the process.
    stopping = threading.Thread(target=provider.shutdown, name="flush-spans", daemon=True)
    stopping.start()
    stopping.join(seconds)
    if stopping.is_alive():
        log.warning("spans_lost", note=f"the collector took none within {seconds:g} s of the stop")


class OutageReporter(SpanExporter):
    """Sends by another exporter, and says once when that begins to fail and once when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, in the exporting thread."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("spans_sent_again", lost=self._lost)
            self._lost = 0
        else:
            if not self._lost:
                log.warning(
                    "spans_not_sent",
                    note="check the collector, OTEL_EXPORTER_OTLP_ENDPOINT and its headers; said once until it works",
                )
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop the other one."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Let the other one send what it holds."""
        return self._exporter.force_flush(timeout_millis)
