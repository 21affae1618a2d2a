"""Golden cases: crops with known scores, by which a bundle proves on any machine that it still gives those scores."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from liveness_core.bundle.errors import BundleError
from liveness_core.bundle.manifest import Manifest, TemporalHead, Variant
from liveness_core.runtime import NetworkError
from liveness_core.scoring import ClipScorer, ScoreError, Scorer
from liveness_core.types import FaceCrops

# K crops, S crop size, J clips, T frames of a clip, D embedding

_CROPS, _SCORES, _CLIP_SCORES = "crops", "scores_", "clip_scores_"
_ONLY = "image"
"""The view of bundles of schema version 1, whose crops have no name."""


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """A few crops, and clips made of them, with the scores that each variant gave them when the bundle was made."""

    crops_KSS3: dict[str, NDArray[np.uint8]]
    """Crops as `View.to_tensor` takes them, by the name of the view. No crop is from a data set, since bundles are
    handed on."""
    scores_K: dict[str, NDArray[np.float64]]
    """Scores of the crops, by precision."""
    clips_JT: NDArray[np.int64] | None = None
    """Row numbers of the crops that are the frames of each clip; None if the bundle has no temporal head."""
    clip_scores_J: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Scores of the clips, by precision."""

    def to_bytes(self) -> bytes:
        """The content of `golden.npz` that holds these cases."""
        buffer = io.BytesIO()
        arrays: dict[str, NDArray[np.generic]] = {
            _CROPS if name == _ONLY else f"{_CROPS}_{name}": crops for name, crops in self.crops_KSS3.items()
        }
        arrays |= {_SCORES + precision: values for precision, values in self.scores_K.items()}
        if self.clips_JT is not None:
            arrays["clips"] = self.clips_JT
        arrays |= {_CLIP_SCORES + precision: values for precision, values in self.clip_scores_J.items()}
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenCases":
        """Read `golden.npz`.

        Raises:
            ValueError: it is no npz archive, holds no crop, lacks a score of a crop or of a clip, or has clips that are
                not made of its crops.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib, NumPy and struct raise errors of their own
            raise ValueError(f"not an npz archive ({error})") from error
        crops = _take_crops(arrays)
        count = len(next(iter(crops.values())))
        clips = arrays.pop("clips", None)
        if clips is not None:
            if clips.ndim != 2 or clips.dtype.kind not in "iu" or not clips.size:
                raise ValueError("`clips` must be an integer array of shape (J, T), both at least 1")
            if clips.min() < 0 or clips.max() >= count:
                raise ValueError(f"`clips` must hold row numbers of the {count} crops")
            clips = clips.astype(np.int64)
        clip_scores = _take_scores(arrays, _CLIP_SCORES, 0 if clips is None else len(clips))
        scores = _take_scores(arrays, _SCORES, count)
        if arrays:
            raise ValueError(f"unexpected array {sorted(arrays)[0]!r}: only crops, clips and their scores belong there")
        return cls(crops, scores, clips, clip_scores)

    def faces(self, views: Sequence[str]) -> list[FaceCrops]:
        """The golden faces, each with its crops in the order of these views.

        Raises:
            ValueError: these are not the views that there are crops of.
        """
        if set(views) != set(self.crops_KSS3):
            there = ", ".join(self.crops_KSS3)
            raise ValueError(f"it has crops of {there}, expected {', '.join(views)}: export the bundle again")
        return list(zip(*(self.crops_KSS3[view] for view in views), strict=True))


def _take_crops(arrays: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.uint8]]:
    """Remove the arrays of crops, and return them by the name of their view."""
    names = [name for name in arrays if name == _CROPS or name.startswith(f"{_CROPS}_")]
    taken: dict[str, NDArray[np.uint8]] = {}
    for name in names:
        crops = arrays.pop(name)
        if crops.ndim != 4 or crops.dtype != np.uint8 or not len(crops):
            raise ValueError(f"`{name}` must be a uint8 array of shape (K, S, S, 3), K at least 1")
        taken[_ONLY if name == _CROPS else name.removeprefix(f"{_CROPS}_")] = crops.astype(np.uint8, copy=False)
    if not taken:
        raise ValueError("`crops` must be a uint8 array of shape (K, S, S, 3), K at least 1")
    if len({len(crops) for crops in taken.values()}) > 1:
        raise ValueError("every view must have the same number of crops")
    return taken


def _take_scores(arrays: dict[str, NDArray[np.generic]], prefix: str, count: int) -> dict[str, NDArray[np.float64]]:
    """Remove the arrays whose names start with this prefix, and return them by precision."""
    names = [name for name in arrays if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): np.asarray(arrays.pop(name), np.float64) for name in names}
    if any(values.shape != (count,) or not np.isfinite(values).all() for values in taken.values()):
        raise ValueError(f"each array {prefix}… must hold {count} finite numbers")
    return taken


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
    embedding_KD = _test_crops(golden, manifest, variant, scorer)
    if manifest.temporal is not None and clip_scorer is not None:
        _test_clips(golden, manifest, manifest.temporal, variant, embedding_KD, clip_scorer)


def _test_crops(golden: GoldenCases, manifest: Manifest, variant: Variant, scorer: Scorer) -> NDArray[np.float32]:
    """The embeddings of the crops, shape (K, D), whose scores are as they were."""
    expected_K = golden.scores_K.get(variant.precision)
    if expected_K is None:
        raise BundleError(manifest.golden, f"no scores for {variant.precision}: export the bundle again")
    try:
        results = scorer.score(_faces(golden, manifest))
    except (NetworkError, ScoreError, ValueError) as error:
        raise BundleError(variant.encoder.file, f"cannot score the golden cases: {error}") from error
    actual_K = np.array([result.score for result in results])
    _refuse_drift(variant.encoder.file, "score", actual_K, expected_K, variant)
    return np.stack([result.embedding for result in results])


def _test_clips(
    golden: GoldenCases,
    manifest: Manifest,
    head: TemporalHead,
    variant: Variant,
    embedding_KD: NDArray[np.float32],
    clip_scorer: ClipScorer,
) -> None:
    file = manifest.golden
    clips_JT, expected_J = golden.clips_JT, golden.clip_scores_J.get(variant.precision)
    if clips_JT is None or expected_J is None:
        raise BundleError(file, f"no scores of clips for {variant.precision}: export the bundle again")
    if clips_JT.shape[1] != head.clip.frames:
        raise BundleError(
            file, f"its clips have {clips_JT.shape[1]} frames, expected {head.clip.frames}: export the bundle again"
        )
    try:
        actual_J = clip_scorer.score_embeddings(embedding_KD[clips_JT])
    except (NetworkError, ScoreError, ValueError) as error:
        raise BundleError(head.network.file, f"cannot score the golden clips: {error}") from error
    _refuse_drift(head.network.file, "clip's score", actual_J, expected_J, variant)


def _faces(golden: GoldenCases, manifest: Manifest) -> list[FaceCrops]:
    try:
        return golden.faces([view.name for view in manifest.views])
    except ValueError as error:
        raise BundleError(manifest.golden, str(error)) from error


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
