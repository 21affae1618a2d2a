"""Prometheus metrics. Their names are part of the contract; labels have few values, never text that clients choose."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from liveness_core.bundle.manifest import SCORE_EDGES, LabelledScores, Manifest, OperatingPoint
from liveness_service.observability.gpu import GpuMemory
from liveness_service.results import ClipResult, Result
from liveness_service.submission import Endpoint

# An answer takes 20 to 100 ms on a CPU and should be ready within a second; the larger buckets show how bad an overload
# is. Clips take longer, depending on how much must be decoded.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A stage takes from less than a millisecond (align) to hundreds (decoding 50 megapixels), or seconds for a clip in 4K.
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_STATUSES = {status.value for status in HTTPStatus} | {499}  # 499: the client went away
_Labelled = TypeVar("_Labelled", Counter, Histogram)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics of one service. They have their own registry, so that one process can run several services."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._children: dict[tuple[object, tuple[str, ...]], object] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "liveness_requests_total", "Answered requests.", ["endpoint", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "liveness_request_seconds",
            "From the request to its answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.verdict_seconds = Histogram(
            "liveness_verdict_seconds",
            "From the whole upload to the verdict: what a client's slow line adds is left out.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.verdicts = Counter(
            "liveness_verdicts_total", "Verdicts by what they are.", ["endpoint", "verdict"], registry=registry
        )
        self.undetermined = Counter(
            "liveness_undetermined_total", "Undetermined verdicts by reason.", ["endpoint", "reason"], registry=registry
        )
        self.score = Histogram(
            "liveness_score",
            "Scores, 0 spoof to 1 live: a shifting distribution is drift.",
            ["endpoint"],
            buckets=SCORE_EDGES,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "liveness_stage_seconds", "Time in each stage.", ["stage"], buckets=_STAGE_SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "liveness_batch_size", "Crops in a run of the encoder.", buckets=_BATCHES, registry=registry
        )
        self.queue_depth = Gauge("liveness_queue_depth", "Crops that wait for the encoder.", registry=registry)
        self.rejected = Counter(
            "liveness_rejected_total",
            "Requests refused without a verdict, by error code.",
            ["reason"],
            registry=registry,
        )
        self.inflight = Gauge("liveness_inflight_requests", "Requests in work or waiting.", registry=registry)
        self.inflight_limit = Gauge(
            "liveness_inflight_limit", "LIVENESS_MAX_INFLIGHT: as many are accepted at once.", registry=registry
        )
        self.uploads = Gauge("liveness_uploads", "Uploads that are arriving.", registry=registry)
        self.held_bytes = Gauge(
            "liveness_held_bytes", "Bytes of uploads in memory, from their arrival to their answer.", registry=registry
        )
        self.connections = Gauge("liveness_connections", "Open connections.", registry=registry)
        self.connections_closed = Counter(
            "liveness_connections_closed_total",
            "Connections that a limit closed without an answer, by the limit.",
            ["reason"],  # no_request, no_room, slow_body, unread_answer, sent_on, header_too_large, malformed_request
            registry=registry,
        )
        self.model_info = Gauge(
            "liveness_model_info",
            "1 for each loaded model; absent without one. Roles: active, canary, shadow, previous.",
            ["name", "version", "precision", "provider", "role"],
            registry=registry,
        )
        self.provider_info = Gauge(
            "liveness_provider_info",
            "1 for each network of a loaded model: what it runs on.",
            ["role", "network", "provider"],  # network: encoder, classifier, temporal, detector
            registry=registry,
        )
        self.ready = Gauge(
            "liveness_ready",
            "1 while requests are answered, 0 otherwise: what /health/ready says, without trying the audit log anew.",
            registry=registry,
        )
        self.model_verdicts = Counter(
            "liveness_model_verdicts_total",
            "Verdicts by model; a shadow's decide nothing.",
            ["name", "version", "role", "endpoint", "verdict"],
            registry=registry,
        )
        self.model_score = Histogram(
            "liveness_model_score",
            "Scores by model, 0 spoof to 1 live.",
            ["name", "version", "role", "endpoint"],
            buckets=SCORE_EDGES,
            registry=registry,
        )
        self.model_reference_score = Gauge(
            "liveness_model_reference_score",
            "Share of scores at or below `le` in the data that the bundle's thresholds were chosen on.",
            ["name", "version", "kind", "le"],  # kind: live, spoof, clip_live, clip_spoof
            registry=registry,
        )
        # Only of operating points that were calibrated: a bundle's own ones add no series.
        self.point_score = Histogram(
            "liveness_point_score",
            "Scores of requests that a calibrated operating point decided, 0 spoof to 1 live.",
            ["name", "version", "operating_point", "endpoint"],
            buckets=SCORE_EDGES,
            registry=registry,
        )
        self.point_reference_score = Gauge(
            "liveness_point_reference_score",
            "Share of live scores at or below `le` in the data that the operating point was calibrated on.",
            ["name", "version", "operating_point", "endpoint", "le"],
            registry=registry,
        )
        self.point_reference_people = Gauge(
            "liveness_point_reference_people",
            "How many people these live scores come from.",
            ["name", "version", "operating_point", "endpoint"],
            registry=registry,
        )
        self.model_switches = Counter(
            "liveness_model_switches_total",
            "Changes of a role: activate, rollback, canary, shadow; outcome done or failed.",
            ["action", "outcome"],
            registry=registry,
        )
        self.shadow_agreement = Counter(
            "liveness_shadow_agreement_total",
            "Answers that a shadow scored too, by both verdicts.",
            ["name", "version", "verdict", "shadow_verdict"],
            registry=registry,
        )
        self.shadow_skipped = Counter(
            "liveness_shadow_skipped_total", "Requests that a shadow should have scored.", ["reason"], registry=registry
        )
        self.key_requests = Counter(
            "liveness_key_requests_total",
            "Answered requests by the name of the access key; `none` without one, `unknown` for a wrong one.",
            ["key", "endpoint", "status"],
            registry=registry,
        )
        self.key_verdicts = Counter(
            "liveness_key_verdicts_total",
            "Verdicts by the name of the access key.",
            ["key", "endpoint", "verdict"],
            registry=registry,
        )
        self.rate_limit_store_failures = Counter(
            "liveness_rate_limit_store_failures_total",
            "Times that the store of rate limits did not answer; each process then counts for itself.",
            registry=registry,
        )
        self.audit_records = Counter(
            "liveness_audit_records_total", "Verdicts written to the audit log.", registry=registry
        )
        self.audit_failures = Counter(
            "liveness_audit_failures_total",
            "Verdicts that the audit log could not take; they were not answered.",
            registry=registry,
        )
        self.sessions = Counter(
            "liveness_sessions_total",
            "Capture sessions by what happened: opened, scored, failed, read.",
            ["kind", "event"],  # kind: photo, clip
            registry=registry,
        )
        self.session_store_failures = Counter(
            "liveness_session_store_failures_total",
            "Times that the store of sessions did not answer; the request was refused.",
            registry=registry,
        )
        self.provider_failures = Counter(
            "liveness_provider_failures_total",
            "Times that an execution provider failed, and on which one the bundle goes on; `none` where it waits.",
            ["provider", "goes_on_with"],
            registry=registry,
        )
        self.workers = Gauge(
            "liveness_workers", "Processes that are ready to read uploads, or at it.", ["pool"], registry=registry
        )
        self.worker_ends = Counter(
            "liveness_worker_ends_total",
            "Such processes that ended and were replaced, by reason.",
            ["pool", "reason"],
            registry=registry,
        )
        self.gpu_memory = GpuMemory()
        registry.register(self.gpu_memory)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Report the queue's depth; `depth` is called at each scrape and gives the number of waiting crops."""
        self.queue_depth.set_function(depth)

    def answered(self, endpoint: str, status: int, seconds: float, key: str = "none") -> None:
        """Count an answered request.

        Args:
            endpoint: pattern of the route's path; `unmatched` where no route matched.
            status: HTTP status. All statuses that HTTP does not define share the label `other`, to bound the labels.
            seconds: from the request to its answer.
            key: name of the caller's access key; `none` without a key, `unknown` for a wrong one.
        """
        label = str(status) if status in _STATUSES else "other"
        self._of(self.requests, endpoint, label).inc()
        self._of(self.key_requests, key, endpoint, label).inc()
        self._of(self.request_seconds, endpoint).observe(seconds)

    def scored(self, role: str, manifest: Manifest, endpoint: str, result: Result) -> None:
        """Count a model's result by model and role, also that of a shadow, which decides nothing."""
        model = manifest.name, manifest.version
        self._of(self.model_verdicts, *model, role, endpoint, result.verdict.value).inc()
        if result.score is None:
            return
        self._of(self.model_score, *model, role, endpoint).observe(result.score)
        name = result.operating_point
        point = _points(manifest, is_clip=isinstance(result, ClipResult)).get(name)
        if role != "shadow" and point is not None and point.reference_scores is not None:
            self._of(self.point_score, *model, name, endpoint).observe(result.score)

    def concluded(self, endpoint: str, result: Result, key: str = "none") -> None:
        """Count the verdict that a caller gets, with its reasons, its score and its times."""
        self._of(self.verdicts, endpoint, result.verdict.value).inc()
        self._of(self.key_verdicts, key, endpoint, result.verdict.value).inc()
        for reason in result.reasons:
            self._of(self.undetermined, endpoint, reason).inc()
        if result.score is not None:
            self._of(self.score, endpoint).observe(result.score)
        timings = result.timings_ms
        self._of(self.verdict_seconds, endpoint).observe(timings.total / 1000)
        for stage in ("decode", "detect", "align", "queue", "infer"):
            took = getattr(timings, stage)
            if took:
                self._of(self.stage_seconds, stage).observe(took / 1000)

    def _of(self, metric: _Labelled, *values: str) -> _Labelled:
        """The metric for these values of its labels. The library takes a lock and five calls to find it each time."""
        child = self._children.get((metric, values))
        if child is None:
            child = self._children[metric, values] = metric.labels(*values)
        return cast(_Labelled, child)


def publish_reference(metrics: Metrics, manifest: Manifest) -> None:
    """Report a model's reference distributions of scores, in the buckets of `liveness_score`.

    They are the bundle's own, and those of its calibrated operating points. Bundles that were made before there were
    such distributions have none; for them nothing is reported.
    """
    for endpoint, is_clip in ((Endpoint.PHOTO, False), (Endpoint.CLIP, True)):
        for name, point in _points(manifest, is_clip=is_clip).items():
            _publish_point(metrics, (manifest.name, manifest.version, name, endpoint.value), point)
    reference = manifest.reference_scores
    if reference is None:
        return
    _publish(metrics, manifest, "", reference.photo)
    if reference.clip is not None:
        _publish(metrics, manifest, "clip_", reference.clip)


def _publish(metrics: Metrics, manifest: Manifest, prefix: str, scores: LabelledScores) -> None:
    for label, distribution in (("live", scores.live), ("spoof", scores.spoof)):
        for edge, share in zip((*map(str, SCORE_EDGES), "+Inf"), (*distribution.shares, 1.0), strict=True):
            kind = f"{prefix}{label}"
            metrics.model_reference_score.labels(manifest.name, manifest.version, kind, edge).set(share)


def _publish_point(metrics: Metrics, labels: tuple[str, str, str, str], point: OperatingPoint) -> None:
    if (reference := point.reference_scores) is None:
        return
    people = reference.count if point.calibration is None else point.calibration.live_people
    metrics.point_reference_people.labels(*labels).set(people)
    for edge, share in zip((*map(str, SCORE_EDGES), "+Inf"), (*reference.shares, 1.0), strict=True):
        metrics.point_reference_score.labels(*labels, edge).set(share)


def _points(manifest: Manifest, *, is_clip: bool) -> Mapping[str, OperatingPoint]:
    """The thresholds of photos or of clips, by name; a bundle that scores photos only has none of clips."""
    if not is_clip:
        return manifest.operating_points
    return {} if manifest.temporal is None else manifest.temporal.operating_points
