"""Reports the scores that a model gave to the data of its thresholds, for comparison with its scores in production."""

from liveness_core.bundle.manifest import SCORE_EDGES, LabelledScores, Manifest
from liveness_service.observability.metrics import Metrics


def publish_reference(metrics: Metrics, manifest: Manifest) -> None:
    """Report a model's reference distribution of scores, in the buckets of `liveness_score`.

    Bundles that were made before there was such a distribution have none; for them nothing is reported.
    """
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
