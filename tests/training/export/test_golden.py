"""Golden cases: none is taken whose score would hide a drift."""

import numpy as np
import pytest

from liveness_core.clips import ClipSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import OrtSession
from liveness_core.scoring import ClipScorer, Scorer
from liveness_training.export.golden import golden_cases, golden_clips
from liveness_training.export.networks import ExportError
from support.tiny_bundle import FRAMES, classifier_bytes, encoder_bytes, score_clips, temporal_bytes


def cases(image_bias, clip_bias):
    scorer = Scorer(OrtSession(encoder_bytes()), OrtSession(classifier_bytes(image_bias, 4)), PreprocessSpec(), 1.0)
    clips = ClipScorer(OrtSession(temporal_bytes(clip_bias, 4)), ClipSpec(), 1.0)
    return golden_cases(PreprocessSpec(), {"fp32": scorer}, {"fp32": clips})


def test_chosen_clips_are_those_that_the_head_is_least_sure_of():
    golden = cases(0, 0)
    assert golden.clips_JT.shape == (6, FRAMES)
    assert set(golden.clips_JT[0]) == {0}
    scores = golden.clip_scores_J["fp32"]
    assert ((scores > 0.05) & (scores < 0.95)).sum() >= 3
    # As the clip is scored when it comes as pictures.
    scorer = Scorer(OrtSession(encoder_bytes()), OrtSession(classifier_bytes(0, 4)), PreprocessSpec(), 1.0)
    clip_scorer = ClipScorer(OrtSession(temporal_bytes(0, 4)), ClipSpec(), 1.0)
    again = score_clips(scorer, clip_scorer, [list(golden.crops_KSS3["image"][clip]) for clip in golden.clips_JT])
    assert [each.score for each in again] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(
    ("image_bias", "clip_bias", "said"), [(30, 0, "golden score of fp32"), (0, 30, "clip's score")]
)
def test_cases_that_would_hide_a_drift_are_refused(image_bias, clip_bias, said):
    with pytest.raises(ExportError, match=f"{said}.* near 0 or 1"):
        cases(image_bias, clip_bias)


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_clips_are_made_of_the_crops_and_the_same_every_time(frames):
    seen = []

    def score(clips_KT):
        seen.append(clips_KT)
        return np.linspace(0, 1, len(clips_KT))

    chosen = golden_clips(3, frames, score)
    again = golden_clips(3, frames, score)
    np.testing.assert_array_equal(chosen, again)
    assert chosen.shape == (6, frames)
    assert seen[0].min() == 0
    assert seen[0].max() == 2
