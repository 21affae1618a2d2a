"""The exporter of spans where the collector is away."""

import json

from opentelemetry.sdk.trace.export import SpanExportResult

from liveness_service.observability.logs import configure_logging
from liveness_service.observability.span_export import OutageReporter
from liveness_service.settings import Settings


class Collector:
    """An exporter that succeeds while it is up."""

    def __init__(self):
        self.up = True

    def export(self, spans):
        return SpanExportResult.SUCCESS if self.up else SpanExportResult.FAILURE


def test_an_outage_of_the_collector_is_two_lines_however_long_it_lasts(capsys):
    configure_logging(Settings(log_format="json"))
    collector = Collector()
    reporter = OutageReporter(collector)
    for up in (True, False, False, False, True, True):
        collector.up = up
        reporter.export([object(), object()])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["spans_not_sent", "spans_sent_again"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in lines[0]["note"]
    assert lines[1]["lost"] == 6
