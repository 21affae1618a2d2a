import io
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_service.decoding import scaled
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.scaled import FACTORS, ScaledDecoder
from liveness_service.errors import TooManyPixelsError, UnreadableMediaError
from support.pictures import astronaut, encoded

LIMITS = ImageLimits(20_000_000)
WIDTH, HEIGHT = 601, 449  # no multiples of 8
PICTURE = cv2.resize(astronaut(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def expected(factor):
    whole = PICTURE[: HEIGHT // factor * factor, : WIDTH // factor * factor]
    return cv2.resize(whole, (WIDTH // factor, HEIGHT // factor), interpolation=cv2.INTER_AREA)


def apart(first, second):
    """Mean difference in grey levels where both have pixels."""
    height, width = (min(sides) for sides in zip(first.shape[:2], second.shape[:2], strict=True))
    return np.abs(first[:height, :width].astype(int) - second[:height, :width]).mean()


KINDS = {
    "JPEG": ("JPEG", {"quality": 95}),
    "progressive": ("JPEG", {"quality": 95, "progressive": True, "subsampling": 0}),
    "PNG": ("PNG", {"compress_level": 1}),
    "BMP": ("BMP", {}),
    "WEBP": ("WEBP", {"lossless": True, "method": 0}),
}


@cache
def content_of(name):
    kind, options = KINDS[name]
    return encoded(PICTURE, kind, **options)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_small_picture(name, factor):
    image = ScaledDecoder(content_of(name), LIMITS).decoded(lambda _: factor)
    assert (image.factor, image.width, image.height) == (factor, WIDTH, HEIGHT)
    height, width = image.picture.shape[:2]
    assert width in (WIDTH // factor, -(-WIDTH // factor))
    assert height in (HEIGHT // factor, -(-HEIGHT // factor))
    assert apart(image.picture, expected(factor)) < 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_too(mode):
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(buffer, "JPEG", quality=95)
    image = ScaledDecoder(buffer.getvalue(), LIMITS).decoded(lambda _: 4)
    assert image.picture.shape == (113, 151, 3)
    whole = decode_image(buffer.getvalue(), LIMITS)
    assert apart(image.picture, cv2.resize(whole, (150, 112), interpolation=cv2.INTER_AREA)) < 4


def test_the_second_picture_of_a_phones_file_is_left_alone():
    """Phones put a gain map behind the picture: Pillow then calls the JPEG an MPO."""
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    image = ScaledDecoder(buffer.getvalue(), LIMITS).decoded(lambda _: 4)
    assert image.picture.shape == (113, 151, 3)
    assert apart(image.picture, expected(4)) < 4


@pytest.mark.parametrize("orientation", [6, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 3, 5, 8))])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_it_is_turned_upright_and_so_is_its_size(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = cv2.resize(astronaut(), (1203, 901), interpolation=cv2.INTER_AREA)
    content = encoded(large, kind, exif=exif.tobytes())
    whole = decode_image(content, LIMITS)
    image = ScaledDecoder(content, LIMITS).decoded(lambda _: 4)
    assert (image.height, image.width) == whole.shape[:2]
    small = cv2.resize(whole, (image.picture.shape[1], image.picture.shape[0]), interpolation=cv2.INTER_AREA)
    assert apart(image.picture, small) < 6


def test_only_a_jpeg_is_decoded_a_second_time(monkeypatch):
    calls = []
    monkeypatch.setattr(
        scaled, "decode_image", lambda *given, **named: calls.append(1) or decode_image(*given, **named)
    )
    for kind, times in (("PNG", 1), ("JPEG", 2)):
        calls.clear()
        decoder = ScaledDecoder(encoded(PICTURE, kind), LIMITS)
        assert [decoder.decoded(lambda _, factor=factor: factor).picture.shape[1] for factor in (4, 1)][1] == WIDTH
        assert len(calls) == times


def test_the_factor_is_chosen_by_the_size_in_the_header():
    seen = []
    for kind in ("JPEG", "PNG"):
        ScaledDecoder(encoded(PICTURE, kind), LIMITS).decoded(lambda size: seen.append(size) or 1)
    assert seen == [(WIDTH, HEIGHT)] * 2


def test_limits_and_damage_are_those_of_the_whole_picture():
    content = encoded(PICTURE)
    with pytest.raises(TooManyPixelsError):
        ScaledDecoder(content, ImageLimits(WIDTH * HEIGHT - 1)).decoded(lambda _: 8)
    assert ScaledDecoder(content, ImageLimits(WIDTH * HEIGHT)).decoded(lambda _: 8).width == WIDTH
    with pytest.raises(UnreadableMediaError):
        ScaledDecoder(content[: len(content) // 2], LIMITS).decoded(lambda _: 8)
