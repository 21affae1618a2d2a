"""A service whose spans are kept in memory, beside its answers."""

import time

from opentelemetry.trace import SpanKind

from support.requests import PHOTO, URL


class Traced:
    """A client of a traced service, and the spans of what it asked."""

    def __init__(self, client, exporter):
        self.client = client
        self._exporter = exporter

    def spans(self, kind=None):
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if kind is None or span.kind is kind]

    def servers(self, count):
        """The servers' spans, once there are so many: one ends after its answer is out."""
        deadline = time.monotonic() + 20
        while len(found := self.spans(SpanKind.SERVER)) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def asked(self, url=URL, content=PHOTO, **options):
        """Ask once: the answer, the server's span and those of its stages by name."""
        self._exporter.clear()
        response = self.client.post(url, content=content, **options)
        [server] = self.servers(1)
        return response, server, [span for span in self.spans() if span is not server]
