import cv2
import numpy as np
import pytest

from liveness_service.results import Verdict
from liveness_service.scoring.heatmap import FULL_COLOUR, heatmap_png, speaking_for
from liveness_service.scoring.verdict import verdict_of_score
from support.pictures import astronaut

CROP = np.ascontiguousarray(astronaut()[0:224, 100:324])


def rendered(activation):
    content = heatmap_png(CROP, np.asarray(activation, np.float32))
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)


def test_it_is_a_png_of_the_crops_size():
    content = heatmap_png(CROP, np.ones((7, 7), np.float32))
    assert content.startswith(b"\x89PNG")
    assert rendered(np.ones((7, 7))).shape == CROP.shape


def test_where_nothing_speaks_the_crop_shows_as_it_is():
    np.testing.assert_array_equal(rendered(np.zeros((7, 7))), CROP)


@pytest.mark.parametrize(("sign", "more", "less"), [(1, 2, 0), (-1, 0, 2)], ids=["live is blue", "spoof is red"])
def test_live_is_blue_and_spoof_is_red(sign, more, less):
    change = (rendered(np.full((7, 7), 3.0 * sign)) - CROP).mean(axis=(0, 1))
    assert change[more] > 20
    assert change[more] > change[less] + 40


def test_the_colour_is_where_the_activation_is_and_stronger_where_it_is_stronger():
    activation = np.zeros((7, 7))
    activation[1, 1], activation[5, 5] = 4.0, 1.0
    change = np.abs(rendered(activation) - CROP).sum(axis=2)
    strong, weak = change[32:64, 32:64].mean(), change[160:192, 160:192].mean()
    assert strong > 2 * weak > 0
    assert change[:, 192:].max() == 0 or change[:32, 192:].mean() < 1


def test_the_same_colour_means_the_same_amount_in_every_picture():
    activation = np.zeros((7, 7))
    activation[1, 1] = 2.0
    alone = rendered(activation)
    activation[5, 5] = 20.0
    np.testing.assert_array_equal(rendered(activation)[:64, :64], alone[:64, :64])
    full, half = (np.abs(rendered(np.full((7, 7), share * FULL_COLOUR)) - CROP).sum() for share in (1.0, 0.5))
    assert full == pytest.approx(2 * half, rel=0.02)
    np.testing.assert_array_equal(rendered(np.full((7, 7), 50.0)), rendered(np.full((7, 7), FULL_COLOUR)))


@pytest.mark.parametrize("score", [0.0, 0.03, 0.5, 0.894, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("threshold", [0.2, 0.9])
def test_on_balance_the_map_says_what_the_verdict_says(score, threshold):
    activation = np.random.default_rng(0).normal(4.0, 2.0, (7, 7)).astype(np.float32)  # this network speaks for live
    shown = speaking_for(activation, 0.6, score, threshold)
    clear = min(max(score, 1e-6), 1 - 1e-6)
    assert shown.mean() == pytest.approx(np.log(clear / (1 - clear)) - np.log(threshold / (1 - threshold)), abs=1e-4)
    assert (shown.mean() >= -1e-6) == (verdict_of_score(score, threshold) is Verdict.LIVE)
    np.testing.assert_allclose(shown - shown.mean(), (activation - activation.mean()) / 0.6, atol=1e-4)


def test_a_spoof_of_a_high_score_is_not_painted_as_live():
    # The members without a map made a spoof of it, the member with one speaks for live everywhere.
    picture = rendered(speaking_for(np.full((7, 7), 3.0, np.float32), 0.6, 0.894, 0.96)) - CROP
    assert picture[..., 0].mean() > picture[..., 2].mean() + 15
