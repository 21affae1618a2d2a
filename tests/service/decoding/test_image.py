import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from liveness_service.errors import (
    TransparentImageError,
)
from support.pictures import astronaut, encoded
from support.small_pictures import BLUE, KINDS, PIECE, RED, decode, orientation, saved

# --- kinds and colours ---


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True, "method": 0})])
def test_lossless_kinds_decode_to_the_very_pixels(kind, options):
    picture = decode(encoded(astronaut(), kind, **options))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, astronaut())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_lossy_kinds_decode_close_to_the_pixels(kind, options):
    picture = decode(encoded(astronaut(), kind, **options))
    assert picture.shape == astronaut().shape
    assert np.abs(picture.astype(int) - astronaut()).mean() < 4


def test_cmyk_jpeg_has_its_colours_and_is_not_inverted():
    content = saved(Image.fromarray(astronaut()).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode(content).astype(int) - astronaut()).mean() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_greyscale_gets_three_equal_channels(kind):
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    picture = decode(encoded(grey, kind))
    assert picture.shape == (512, 512, 3)
    assert np.ptp(picture.astype(int), axis=2).max() <= (0 if kind != "WEBP" else 8)
    assert np.abs(picture[..., 0].astype(int) - grey).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_one_bit_pictures_are_black_and_white(kind):
    bits = PIECE[..., 0] > 128
    np.testing.assert_array_equal(decode(saved(Image.fromarray(bits), kind))[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_palettes_are_looked_up(kind):
    image = Image.fromarray(PIECE).quantize(16)
    np.testing.assert_array_equal(decode(saved(image, kind)), np.asarray(image.convert("RGB")))


def with_alpha(alpha, rows=slice(0, 1), columns=slice(0, 1)):
    rgba = np.dstack([PIECE, np.full(PIECE.shape[:2], 255, np.uint8)])
    rgba[rows, columns, 3] = alpha
    return rgba


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_one_pixel_that_is_not_quite_opaque_is_too_many(kind, options):
    with pytest.raises(TransparentImageError, match="without transparency"):
        decode(encoded(with_alpha(254), kind, **options))
    np.testing.assert_array_equal(decode(encoded(with_alpha(255), kind, **options)), PIECE)


def test_a_bmp_with_transparency_is_refused():
    bgra = with_alpha(51, slice(10, 20))[..., [2, 1, 0, 3]]
    size, offset = PIECE.shape[1::-1], 14 + 108
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, size[0], -size[1], 1, 32, 3, bgra.nbytes, 0, 0, 0, 0) + masks
    start = b"BM" + struct.pack("<IHHI", offset + bgra.nbytes, 0, 0, offset) + header.ljust(108, b"\0")
    with pytest.raises(TransparentImageError):
        decode(start + bgra.tobytes())
    bgra[..., 3] = 255
    np.testing.assert_array_equal(decode(start + bgra.tobytes()), PIECE)


def test_transparent_greyscale_is_refused_and_opaque_is_not():
    grey_alpha = np.dstack([PIECE[..., 0], np.full(PIECE.shape[:2], 255, np.uint8)])
    picture = decode(saved(Image.fromarray(grey_alpha, "LA"), "PNG"))
    np.testing.assert_array_equal(picture[..., 2], PIECE[..., 0])
    grey_alpha[-1, -1, 1] = 0
    with pytest.raises(TransparentImageError):
        decode(saved(Image.fromarray(grey_alpha, "LA"), "PNG"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "I;16"])
def test_a_colour_declared_transparent_is_refused(mode):
    two = np.concatenate([RED, BLUE])
    image = Image.fromarray(two).quantize(2) if mode == "P" else Image.fromarray(two).convert("L").convert(mode)
    if mode == "RGB":
        image = Image.fromarray(two)
    with pytest.raises(TransparentImageError):
        decode(saved(image, "PNG", transparency=image.getpixel((0, 0))))


def test_a_palette_whose_transparent_entry_no_pixel_has_is_opaque():
    image = Image.fromarray(PIECE).quantize(16)
    content = saved(image, "PNG", transparency=bytes([255] * 16 + [0]))
    np.testing.assert_array_equal(decode(content), np.asarray(image.convert("RGB")))


def test_a_face_that_is_only_in_the_transparency_is_no_picture():
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    hidden = np.dstack([np.zeros_like(astronaut()), 255 - grey])
    with pytest.raises(TransparentImageError):
        decode(encoded(hidden, "PNG"))


def test_sixteen_bit_grey_keeps_its_range():
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(16, 64)
    picture = decode(cv2.imencode(".png", values)[1].tobytes())
    np.testing.assert_array_equal(picture, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_sixteen_bit_colour_keeps_its_range():
    bgr = astronaut()[..., ::-1].astype(np.uint16) * 257
    picture = decode(cv2.imencode(".png", bgr)[1].tobytes())
    np.testing.assert_array_equal(picture, astronaut())


def test_a_jpeg_with_a_second_picture_is_its_first():
    content = saved(Image.fromarray(RED), "MPO", save_all=True, append_images=[Image.fromarray(BLUE)])
    assert content.startswith(b"\xff\xd8\xff")
    assert np.abs(decode(content).astype(int) - RED).max() < 8


# --- orientation ---


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_undone_as_pillow_does_it(kind, value):
    content = encoded(PIECE, kind, exif=orientation(value))
    with Image.open(io.BytesIO(content)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    picture = decode(content)
    np.testing.assert_array_equal(picture, upright)
    assert picture.shape == (PIECE.shape if value < 5 else (PIECE.shape[1], PIECE.shape[0], 3))


def test_a_photo_of_a_turned_phone_is_upright():
    content = encoded(np.ascontiguousarray(np.rot90(PIECE)), "PNG", exif=orientation(6))
    np.testing.assert_array_equal(decode(content), PIECE)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(value):
    np.testing.assert_array_equal(decode(encoded(PIECE, "PNG", exif=orientation(value))), PIECE)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of it, and reads on
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00",
        b"Exif\x00\x00" + bytes(range(64)),
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01\x12" * 40,
        b"Exif\x00\x00II*\x00\xff\xff\xff\x7f",
        orientation(6).tobytes()[:20],
    ],
)
def test_damaged_exif_does_not_fail_the_picture(exif):
    plain = encoded(PIECE, "JPEG")
    damaged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    np.testing.assert_array_equal(decode(damaged), decode(plain))
