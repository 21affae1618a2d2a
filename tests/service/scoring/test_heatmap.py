import cv2
import numpy as np
import pytest

from liveness_service.scoring.heatmap import heatmap_png
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


def test_a_heat_map_says_where_not_how_much():
    activation = np.random.default_rng(0).normal(size=(7, 7))
    np.testing.assert_allclose(rendered(activation), rendered(activation * 1000), atol=1)
