"""Scores of clips that are given as pictures, reached the way the service reaches them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveness_core.scoring import ClipScorer, Scorer


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What the networks say of one clip."""

    score: float
    """Score of the clip, by the temporal head."""
    frame_scores: tuple[float, ...]
    """Score of each frame, in order, as if it were a photo."""


def score_clips(
    scorer: Scorer, clip_scorer: ClipScorer, clips: Sequence[Sequence[NDArray[np.uint8]]]
) -> list[ClipScore]:
    """Score clips of T crops each: all frames go through the encoder once, the head gets their embeddings."""
    frames = scorer.score([crop for clip in clips for crop in clip])
    embeddings_BTD = np.stack([frame.embedding for frame in frames]).reshape(len(clips), len(clips[0]), -1)
    frame_scores_BT = np.reshape([frame.score for frame in frames], (len(clips), -1))
    return [
        ClipScore(float(score), tuple(row.tolist()))
        for score, row in zip(clip_scorer.score_embeddings(embeddings_BTD), frame_scores_BT, strict=True)
    ]
