import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveness_core.clips import ClipSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import OrtSession, TensorSpec
from liveness_core.scoring import LIVE, MOST_ON_CPU, SPOOF, ClipScorer, ScoreError, Scorer, live_probability
from support.pictures import astronaut
from support.tiny_bundle import DEPTH, FRAMES, classifier_bytes, encoder_bytes, score_clips, temporal_bytes

SPEC = PreprocessSpec()


class FixedSession:
    """A `TensorSession` that answers with the same row for every image."""

    provider = "cpu"

    def __init__(self, **outputs):
        self._rows = {name: np.asarray(row, np.float32) for name, row in outputs.items()}
        self.inputs = (TensorSpec(name="x", dtype="float32", shape=(None,)),)
        self.outputs = tuple(
            TensorSpec(name=name, dtype="float32", shape=(None, *row.shape)) for name, row in self._rows.items()
        )
        self.asked = []

    def run(self, feeds, outputs):
        self.asked.append(list(outputs))
        [batch] = feeds.values()
        return [np.stack([self._rows[name]] * len(batch)) for name in outputs]


def grey(value):
    return np.full((224, 224, 3), value, np.uint8)


def tiny(bias=0.0, gain=4.0, temperature=1.0):
    return Scorer(OrtSession(encoder_bytes()), OrtSession(classifier_bytes(bias, gain)), SPEC, temperature)


def scorer_with_logits(*logits, temperature=1.0):
    encoder = FixedSession(embedding=np.ones(DEPTH), features=np.ones((DEPTH, 7, 7)))
    return Scorer(encoder, FixedSession(logits=logits), SPEC, temperature)


def logits(live, spoof):
    row = np.zeros((1, 2), np.float32)
    row[0, LIVE], row[0, SPOOF] = live, spoof
    return row


def test_first_logit_is_live():
    assert (LIVE, SPOOF) == (0, 1)
    assert live_probability(np.array([[2, 0]], np.float32), 1.0)[0] == pytest.approx(1 / (1 + math.exp(-2)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_divides_the_logits(temperature):
    expected = math.exp(1.5 / temperature) / (math.exp(1.5 / temperature) + math.exp(-0.5 / temperature))
    assert live_probability(logits(1.5, -0.5), temperature)[0] == pytest.approx(expected)


@settings(deadline=None)
@given(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32), st.floats(0.5, 4))
def test_score_rises_with_live_and_falls_with_spoof(live, spoof, temperature):
    score = live_probability(logits(live, spoof), temperature)[0]
    assert 0 <= score <= 1
    assert live_probability(logits(live + 1, spoof), temperature)[0] > score
    assert live_probability(logits(live, spoof + 1), temperature)[0] < score
    assert score + live_probability(logits(spoof, live), temperature)[0] == pytest.approx(1)


@pytest.mark.parametrize(("live", "spoof", "expected"), [(3e38, -3e38, 1), (-3e38, 3e38, 0), (1e6, 1e6, 0.5)])
def test_extreme_logits_do_not_overflow(live, spoof, expected):
    assert live_probability(logits(live, spoof), 0.01)[0] == pytest.approx(expected)


def test_scores_are_one_for_each_crop_in_order():
    scores = [result.score for result in tiny().score([grey(255), grey(0), grey(128)])]
    expected = [1 / (1 + math.exp(-4 * (value / 127.5 - 1))) for value in (255, 0, 128)]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert all(isinstance(score, float) for score in scores)


def test_scorer_applies_its_temperature():
    [hot], [cold] = tiny(bias=2, gain=0, temperature=4).score([grey(9)]), tiny(bias=2, gain=0).score([grey(9)])
    assert hot.score == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert cold.score == pytest.approx(1 / (1 + math.exp(-2)))


def test_batch_scores_as_its_crops_do_alone():
    crops = [grey(value) for value in (3, 90, 200)]
    together = [result.score for result in tiny().score(crops)]
    assert together == pytest.approx([tiny().score([crop])[0].score for crop in crops])


def test_no_crops_give_no_scores():
    encoder = FixedSession(embedding=np.ones(DEPTH))
    assert Scorer(encoder, FixedSession(logits=(0, 0)), SPEC, 1.0).score([]) == []
    assert encoder.asked == []


def test_activation_map_averages_to_the_difference_of_the_logits():
    crop = astronaut()[100:324, 100:324]
    [result] = tiny(bias=0.7).score([crop], explain=True)
    assert result.activation.shape == (7, 7)
    assert result.activation.mean() == pytest.approx(math.log(result.score / (1 - result.score)), abs=1e-4)


def test_activation_map_lies_where_the_picture_does():
    bright_patch = grey(0)
    bright_patch[64:96, 160:192] = 255  # patch in row 2, column 5 of the 7x7 map
    other = grey(0)
    maps = [result.activation for result in tiny().score([other, bright_patch], explain=True)]
    assert np.unravel_index(maps[1].argmax(), (7, 7)) == (2, 5)
    assert np.ptp(maps[0]) == 0


def test_activation_maps_are_computed_only_when_asked_for():
    encoder = FixedSession(embedding=np.ones(DEPTH), features=np.ones((DEPTH, 7, 7)))
    scorer = Scorer(encoder, FixedSession(logits=(0, 0)), SPEC, 1.0)
    assert scorer.score([grey(1)])[0].activation is None
    assert scorer.score([grey(1)], explain=True)[0].activation is not None
    assert encoder.asked == [["embedding"], ["embedding", "features"]]


@pytest.mark.parametrize(
    "outputs",
    [(math.nan, 0), (0, math.nan), (math.inf, 0), (0, math.inf), (-math.inf, 0), (math.inf, math.inf)],
)
def test_output_that_is_not_finite_is_never_a_score(outputs):
    with pytest.raises(ScoreError, match="finite"):
        scorer_with_logits(*outputs).score([grey(1), grey(2)])


def test_crop_of_another_size_is_refused():
    with pytest.raises(ValueError, match="size=224"):
        tiny().score([grey(1)[:100, :100]])


def clip_of(*values):
    return [grey(value) for value in values]


def test_clips_of_a_batch_keep_their_frames_and_their_order():
    clips = [clip_of(*range(0, 240, 30)), clip_of(*range(210, -30, -30)), clip_of(*[128] * FRAMES)]
    scorers = tiny(), ClipScorer(OrtSession(temporal_bytes(0.0, 4.0)), ClipSpec(), 1.0)
    together = score_clips(*scorers, clips)
    for clip, result in zip(clips, together, strict=True):
        [alone] = score_clips(*scorers, [clip])
        assert result.score == pytest.approx(alone.score, abs=1e-6)
        assert result.frame_scores == pytest.approx([frame.score for frame in tiny().score(clip)], abs=1e-6)
    brightening, darkening, _ = together
    assert brightening.score > darkening.score + 0.1
    assert sorted(brightening.frame_scores) == pytest.approx(sorted(darkening.frame_scores))


def test_frames_of_several_clips_share_the_encoders_runs():
    encoder = FixedSession(embedding=np.ones(DEPTH))
    scorer = Scorer(encoder, FixedSession(logits=(1, 0)), SPEC, 1.0)
    clips = ClipScorer(FixedSession(logits=(2, 0)), ClipSpec(frames=2), 1.0)
    results = score_clips(scorer, clips, [clip_of(1, 2), clip_of(3, 4), clip_of(5, 6)])
    assert encoder.asked == [["embedding"]] * (6 // MOST_ON_CPU)
    assert [result.score for result in results] == pytest.approx([1 / (1 + math.exp(-2))] * 3)
    assert results[0].frame_scores == pytest.approx([1 / (1 + math.exp(-1))] * 2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_clip_of_another_length_is_refused(count):
    head = FixedSession(logits=(0, 0))
    with pytest.raises(ValueError, match=f"{count} frames, expected 2"):
        ClipScorer(head, ClipSpec(frames=2), 1.0).score_embeddings(np.ones((2, count, DEPTH), np.float32))
    assert head.asked == []


@pytest.mark.parametrize("broken", ["frame", "clip"])
@pytest.mark.parametrize("outputs", [(math.nan, 0), (0, math.inf), (-math.inf, 0)])
def test_output_that_is_not_finite_is_never_a_clips_score(broken, outputs):
    frame, clip = (outputs, (0, 0)) if broken == "frame" else ((0, 0), outputs)
    scorer = ClipScorer(FixedSession(logits=clip), ClipSpec(frames=2), 1.0)
    with pytest.raises(ScoreError, match="finite"):
        score_clips(scorer_with_logits(*frame), scorer, [clip_of(1, 2)])
