import numpy as np
import pytest
from pydantic import ValidationError

from liveness_core.preprocess import PreprocessSpec


def crop(size=32, colour=(255, 127, 0)):
    return np.full((size, size, 3), colour, np.uint8)


def test_tensor_holds_scaled_values_channels_first():
    spec = PreprocessSpec(size=32, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    tensor = spec.to_tensor([crop(), crop(colour=(0, 51, 255))])
    assert tensor.shape == (2, 3, 32, 32)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 0, 0], [1.0, (127 / 255 - 0.25) / 0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(tensor[1, :, 5, 9], [-1.0, (0.2 - 0.25) / 0.25, 0.5], atol=1e-6)


def test_default_is_x_over_127_5_minus_1():
    values = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    tensor = PreprocessSpec().to_tensor([values])
    np.testing.assert_allclose(tensor[0], values.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_places_stay_where_they_were():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[3, 20, 1] = 255
    tensor = PreprocessSpec(size=32, mean=(0, 0, 0), std=(1, 1, 1)).to_tensor([picture])
    assert np.argwhere(tensor).tolist() == [[0, 1, 3, 20]]


def test_bgr_reverses_the_channels_and_mean_and_std_go_by_that_order():
    spec = PreprocessSpec(size=32, colour_order="BGR", mean=(0.0, 0.0, 0.5), std=(1.0, 1.0, 0.5))
    tensor = spec.to_tensor([crop(colour=(255, 0, 51))])
    np.testing.assert_allclose(tensor[0, :, 0, 0], [0.2, 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("colour_order", ["RGB", "BGR"])
def test_tensor_is_contiguous_for_the_runtime(colour_order):
    assert PreprocessSpec(size=32, colour_order=colour_order).to_tensor([crop()]).flags.c_contiguous


@pytest.mark.parametrize("shape", [(32, 31, 3), (64, 64, 3), (32, 32, 4), (32, 32)])
def test_crop_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"\(32, 32, 3\).*size=32") as raised:
        PreprocessSpec(size=32).to_tensor([crop(), np.zeros(shape, np.uint8)])
    assert str(shape) in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"std": (0.5, 0.0, 0.5)},
        {"std": (0.5, 0.5, -0.1)},
        {"margin": 0.9},
        {"margin": 7},
        {"size": 16},
        {"colour_order": "GBR"},
        {"unknown": 1},
    ],
)
def test_impossible_specifications_are_refused(fields):
    with pytest.raises(ValidationError):
        PreprocessSpec(**fields)
