"""Crops and clips for the self-test of a bundle; none comes from a data set, since bundles are passed on."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from liveness_core.bundle import GoldenCases
from liveness_core.bundle.manifest import Precision
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.preprocess import PreprocessSpec
from liveness_core.scoring import ClipScorer, Scorer
from liveness_core.types import FaceCrops, Picture
from liveness_core.views import View, cut_views, views_of
from liveness_training.export.networks import ExportError

# K candidates, S crop size, J clips, T frames of a clip

_WANTED = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Scores that golden cases should have; near 0 and 1 a drift of the logits would hardly change them."""

_TELLING = (0.05, 0.95)
"""At least one score of a bundle's cases must lie between these two."""
_RANDOM_CLIPS = 200
_NEARER = (1.0, 0.45, 0.67, 1.3)
"""Parts of the views' margins: the face fills more of the crop, or less."""

Scoring = Callable[[Sequence[FaceCrops]], NDArray[np.float64]]
ClipScoring = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def golden_cases(
    preprocess: PreprocessSpec | Sequence[View],
    scorers: Mapping[Precision, Scorer],
    clip_scorers: Mapping[Precision, ClipScorer],
) -> GoldenCases:
    """The cases of a bundle, with their scores.

    Args:
        preprocess: the crops, as in the manifest.
        scorers: precision -> scorer of photos; the first one chooses the cases.
        clip_scorers: precision -> scorer of clips; empty without a temporal head.

    Raises:
        ExportError: all scores of a variant are near 0 or 1.
    """
    first, views = next(iter(scorers)), views_of(preprocess)

    def scores_of(precision: Precision, faces: Sequence[FaceCrops]) -> NDArray[np.float64]:
        return np.array([result.score for result in scorers[precision].score(faces)])

    faces = golden_faces(views, partial(scores_of, first))
    crops = {view.name: np.stack([face[number] for face in faces]) for number, view in enumerate(views)}
    scores: dict[str, NDArray[np.float64]] = {precision: scores_of(precision, faces) for precision in scorers}
    _refuse_untelling("score", scores)
    if not clip_scorers:
        return GoldenCases(crops, scores)
    embeddings = {precision: scorer.embed(faces) for precision, scorer in scorers.items()}

    def clip_scores_of(precision: Precision, clips: NDArray[np.int64]) -> NDArray[np.float64]:
        return clip_scorers[precision].score_embeddings(embeddings[precision][clips])

    clips = golden_clips(len(faces), clip_scorers[first].clip.frames, partial(clip_scores_of, first))
    clip_scores: dict[str, NDArray[np.float64]] = {precision: clip_scores_of(precision, clips) for precision in scorers}
    _refuse_untelling("clip's score", clip_scores)
    return GoldenCases(crops, scores, clips, clip_scores)


def golden_faces(views: Sequence[View], score: Scoring) -> list[FaceCrops]:
    """The plain face and five changed ones whose scores are spread over the range.

    Args:
        views: the crops of a face.
        score: function from K faces to scores (K,), by the networks of the bundle.
    """
    candidates = golden_candidates(views)
    return [candidates[index] for index in _chosen(score(candidates))]


def golden_clips(crops: int, frames: int, score: ClipScoring) -> NDArray[np.int64]:
    """The indices of the golden crops that are the frames of each golden clip, shape (6, T).

    The first clip shows only the plain face. The others have scores spread over the range, chosen among clips that show
    one crop, change from one crop to another, or have crops in random order.

    Args:
        crops: how many golden crops there are.
        frames: T.
        score: function from clips (K, T) to scores (K,), by the networks of the bundle.
    """
    still = [[crop] * frames for crop in range(crops)]
    changing = [
        [first] * change + [second] * (frames - change)
        for first, second in permutations(range(crops), 2)
        for change in sorted({frames // 4, frames // 2, frames - frames // 4} - {0, frames})
    ]
    jumping = np.random.default_rng(0).integers(0, crops, (_RANDOM_CLIPS, frames))
    candidates = np.concatenate([np.array(still + changing, np.int64), jumping])
    return candidates[_chosen(score(candidates))]


def _refuse_untelling(what: str, scores: Mapping[str, NDArray[np.float64]]) -> None:
    for precision, values in scores.items():
        if not ((values > _TELLING[0]) & (values < _TELLING[1])).any():
            raise ExportError(
                f"every golden {what} of {precision} is near 0 or 1 ({values.round(3).tolist()}), where a drift would "
                "not show: add changes to golden.py that this model is unsure of"
            )


def _chosen(scores_K: NDArray[np.float64]) -> list[int]:
    """Indices of the first candidate and of those whose scores are nearest to the wanted ones."""
    chosen = [0]
    for wanted in _WANTED:
        order = np.argsort(np.abs(scores_K - wanted), kind="stable")
        chosen.append(next(int(index) for index in order if index not in chosen))
    return chosen


def golden_candidates(views: Sequence[View]) -> list[FaceCrops]:
    """scikit-image's public-domain astronaut, first unchanged, then changed as attacks do."""
    picture: Picture = data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image leaves it untyped
    # Always this detector, with its own weights: golden crops must not depend on what a user has installed.
    face = create_detector(DetectorSpec()).detect(picture)[0]
    faces = [cut_views([_nearer(view, factor) for view in views], picture, face) for factor in _NEARER]
    random = np.random.default_rng(0)
    changed = [
        tuple(change(crop, strength, random) for crop in crops)
        for crops in faces
        for change in (_on_screen, _on_paper, _noisy, _dim)
        for strength in (0.25, 0.5, 0.75, 1.0)
    ]
    return [*faces, *changed]


def _nearer(view: View, factor: float) -> View:
    return view.model_copy(update={"margin": min(max(view.margin * factor, 1.0), 6.0)})


def _on_screen(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    """The colours of a panel and stripes like those of its pixel grid."""
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]]
    stripes = 40 * np.sin(columns / 2.3 + 0.3 * np.sin(rows / 19.0)) * np.sin(rows / 2.1)
    panel = crop * np.array([0.75, 0.9, 1.1]) + stripes[..., None] + 20
    return _u8(crop + strength * (panel - crop))


def _on_paper(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    """Blurred, with less black and colour."""
    soft = cv2.GaussianBlur(crop, (0, 0), 0.5 + 3 * strength).astype(np.float64)
    grey = soft.mean(axis=2, keepdims=True)
    return _u8(60 * strength + (1 - 0.4 * strength) * (grey + (1 - 0.6 * strength) * (soft - grey)))


def _noisy(crop: Picture, strength: float, random: np.random.Generator) -> Picture:
    return _u8(crop + random.normal(0, 60 * strength, crop.shape))


def _dim(crop: Picture, strength: float, _random: np.random.Generator) -> Picture:
    return _u8(np.multiply(crop, 1 - 0.8 * strength, dtype=np.float64))


def _u8(pixels: NDArray[np.float64]) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
