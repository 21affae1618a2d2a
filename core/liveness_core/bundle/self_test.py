"""The self-test of a bundle: its golden cases are scored and must get the scores that they had at the export."""

import numpy as np
from numpy.typing import NDArray

from liveness_core.bundle.errors import BundleError
from liveness_core.bundle.golden import GoldenCases
from liveness_core.bundle.manifest import Manifest, TemporalHead, Variant
from liveness_core.runtime import NetworkError
from liveness_core.scoring import ClipScorer, ScoreError, Scorer

# K crops, J clips, T frames of a clip, D embedding


def self_test(
    manifest: Manifest, variant: Variant, content: bytes, scorer: Scorer, clip_scorer: ClipScorer | None
) -> None:
    """Score the golden crops and, if there is a temporal head, the golden clips.

    Args:
        manifest: the manifest of the bundle.
        variant: the variant that is tested.
        content: the content of `golden.npz`.
        scorer: scores crops with this variant.
        clip_scorer: scores clips with this variant; None without a temporal head.

    Raises:
        BundleError: there are no golden scores for the variant, or one of them is not reproduced.
    """
    try:
        golden = GoldenCases.from_bytes(content)
    except ValueError as error:
        raise BundleError(manifest.golden, str(error)) from error
    _test_crops(golden, manifest.golden, variant, scorer)
    if manifest.temporal is not None and clip_scorer is not None:
        _test_clips(golden, manifest.golden, manifest.temporal, variant, scorer, clip_scorer)


def _test_crops(golden: GoldenCases, file: str, variant: Variant, scorer: Scorer) -> None:
    expected_K = golden.scores_K.get(variant.precision)
    if expected_K is None:
        raise BundleError(file, f"no scores for {variant.precision}: export the bundle again")
    try:
        actual_K = np.array([result.score for result in scorer.score(list(golden.crops_KSS3))])
    except (NetworkError, ScoreError, ValueError) as error:
        raise BundleError(variant.encoder.file, f"cannot score the golden cases: {error}") from error
    _refuse_drift(variant.encoder.file, "score", actual_K, expected_K, variant)


def _test_clips(
    golden: GoldenCases, file: str, head: TemporalHead, variant: Variant, scorer: Scorer, clip_scorer: ClipScorer
) -> None:
    clips_JT, expected_J = golden.clips_JT, golden.clip_scores_J.get(variant.precision)
    if clips_JT is None or expected_J is None:
        raise BundleError(file, f"no scores of clips for {variant.precision}: export the bundle again")
    if clips_JT.shape[1] != head.clip.frames:
        raise BundleError(
            file, f"its clips have {clips_JT.shape[1]} frames, expected {head.clip.frames}: export the bundle again"
        )
    try:
        # Clips share crops, and each crop is encoded only once, so that loading stays fast.
        embedding_KD = scorer.embed(list(golden.crops_KSS3))
        actual_J = clip_scorer.score_embeddings(embedding_KD[clips_JT])
    except (NetworkError, ScoreError, ValueError) as error:
        raise BundleError(head.network.file, f"cannot score the golden clips: {error}") from error
    _refuse_drift(head.network.file, "clip's score", actual_J, expected_J, variant)


def _refuse_drift(
    file: str, what: str, actual: NDArray[np.float64], expected: NDArray[np.float64], variant: Variant
) -> None:
    drift = float(np.abs(actual - expected).max())
    if not drift <= variant.golden_tolerance:
        raise BundleError(
            file,
            f"a golden {what} drifts by {drift:.4f}, allowed are {variant.golden_tolerance:.4f}: "
            "this processor or ONNX Runtime computes it differently; try another precision or version",
        )
