import cv2
import numpy as np
import pytest

from liveness_training.data.augment import augment
from support.pictures import astronaut

FACE = np.ascontiguousarray(astronaut()[40:264, 110:334])


def drawn(crop, seed):
    return augment(crop, np.random.default_rng(seed))


@pytest.mark.parametrize("size", [32, pytest.param(80, marks=pytest.mark.slow), 224])
def test_shape_and_kind_stay(size):
    crop = np.ascontiguousarray(astronaut()[40 : 40 + size, 120 : 120 + size])
    for seed in range(60 if size < 100 else 15):
        result = drawn(crop, seed)
        assert result.shape == (size, size, 3)
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous


def test_same_seed_gives_the_same_picture_and_others_give_others():
    results = [drawn(FACE, seed) for seed in range(8)]
    for seed, result in enumerate(results):
        np.testing.assert_array_equal(drawn(FACE, seed), result)
    assert len({result.tobytes() for result in results}) == 8


def test_crop_itself_is_not_changed():
    crop = FACE.copy()
    for seed in range(40):
        drawn(crop, seed)[:] = 0
    np.testing.assert_array_equal(crop, FACE)


def test_result_is_still_the_same_face():
    def coarse(picture):
        return cv2.resize(picture.astype(np.float32), (10, 10), interpolation=cv2.INTER_AREA)

    alike = []
    for seed in range(30):
        result = coarse(drawn(FACE, seed))
        views = (result, result[:, ::-1])
        alike.append(max(np.corrcoef(view.ravel(), coarse(FACE).ravel())[0, 1] for view in views))
    assert np.median(alike) > 0.6


def test_about_half_are_mirrored():
    ramp = np.repeat(np.linspace(0, 255, 64)[None, :, None], 64, axis=0).repeat(3, axis=2).astype(np.uint8)
    rising = [drawn(ramp, seed)[:, 40:].mean() > drawn(ramp, seed)[:, :24].mean() for seed in range(200)]
    assert 0.35 < np.mean(rising) < 0.65


def test_no_pixels_from_outside_the_crop_are_added():
    # Bright everywhere: black corners or bands would stand out, but for the grey rectangle that hides a fifth of them.
    bright = np.full((96, 96, 3), 200, np.uint8)
    dark_corners = 0
    for seed in range(150):
        result = drawn(bright, seed)
        corners = result[[0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
        dark_corners += bool((corners < 0.3 * np.median(result)).any())
    assert dark_corners == 0


def test_colours_and_grey_both_come_about():
    half = np.ascontiguousarray(FACE[::2, ::2])
    grey = [np.ptp(drawn(half, seed).astype(int), axis=2).mean() < 2 for seed in range(100)]
    assert 0.02 < np.mean(grey) < 0.2  # the tenth that loses its colours, less those that noise colours again


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_share_of_grey_pictures_is_held(share, expected):
    half = np.ascontiguousarray(FACE[::2, ::2])
    grey = []
    for seed in range(60):
        result = augment(half, np.random.default_rng(seed), share)
        grey.append(
            np.ptp(cv2.GaussianBlur(result, (0, 0), 5).astype(int), axis=2).mean() < 3
        )  # but for coloured noise
    assert np.mean(grey) == expected
