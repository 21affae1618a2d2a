import io
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.errors import (
    EmptyBodyError,
    ServiceError,
    TooManyPixelsError,
    UnreadableMediaError,
    UnsupportedMediaError,
)
from support.pictures import astronaut, encoded

LIMITS = ImageLimits(max_pixels=50_000_000)
KINDS = ["JPEG", "PNG", "WEBP", "BMP"]
# An upright, unsymmetrical piece of a real photo, small enough to be decoded thousands of times.
PIECE = np.ascontiguousarray(astronaut()[60:124, 180:276])
RED, BLUE = (np.full((20, 30, 3), colour, np.uint8) for colour in ((200, 10, 10), (10, 10, 200)))


def decode(content, limits=LIMITS):
    return decode_image(content, limits)


def decoded_or_refused(content):
    """The picture, or None after an error of ours: whatever else is raised fails the test."""
    try:
        picture = decode(content, ImageLimits(max_pixels=100_000))
    except ServiceError:
        return None
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    assert picture.shape[0] * picture.shape[1] <= 100_000
    return picture


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png(width, height, rows=b"", *, colour=2, depth=8):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- kinds and colours ---


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
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


def test_transparency_lies_over_white():
    rgba = np.dstack([PIECE, np.full(PIECE.shape[:2], 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 51  # a fifth
    picture = decode(encoded(rgba, "PNG"))
    assert (picture[:10] == 255).all()
    np.testing.assert_allclose(picture[10:20], 255 * 0.8 + PIECE[10:20] * 0.2, atol=1.5)
    np.testing.assert_array_equal(picture[20:], PIECE[20:])


def test_transparent_greyscale_lies_over_white():
    grey_alpha = np.dstack([PIECE[..., 0], np.full(PIECE.shape[:2], 255, np.uint8)])
    grey_alpha[:10, :, 1] = 0
    picture = decode(saved(Image.fromarray(grey_alpha, "LA"), "PNG"))
    assert (picture[:10] == 255).all()
    np.testing.assert_array_equal(picture[10:, :, 2], PIECE[10:, :, 0])


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_colour_declared_transparent_lies_over_white(mode):
    two = np.concatenate([RED, BLUE])
    image = Image.fromarray(two).convert(mode) if mode != "P" else Image.fromarray(two).quantize(2)
    transparent = image.getpixel((0, 0))
    picture = decode(saved(image, "PNG", transparency=transparent))
    assert (picture[:20] == 255).all()
    np.testing.assert_array_equal(picture[20:], np.asarray(image.convert("RGB"))[20:])


def test_sixteen_bit_grey_keeps_its_range():
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(16, 64)
    picture = decode(cv2.imencode(".png", values)[1].tobytes())
    np.testing.assert_array_equal(picture, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_sixteen_bit_colour_keeps_its_range():
    bgr = astronaut()[..., ::-1].astype(np.uint16) * 257
    picture = decode(cv2.imencode(".png", bgr)[1].tobytes())
    np.testing.assert_array_equal(picture, astronaut())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_its_first_frame(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(RED), kind, save_all=True, append_images=[Image.fromarray(BLUE)] * 2, **options)
    np.testing.assert_array_equal(decode(content), RED)


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


# --- limits ---


def test_the_most_pixels_are_accepted_and_one_row_more_is_not():
    limits = ImageLimits(max_pixels=PIECE.shape[0] * PIECE.shape[1])
    assert decode(encoded(PIECE, "PNG"), limits).shape == PIECE.shape
    taller = np.concatenate([PIECE, PIECE[:1]])
    with pytest.raises(TooManyPixelsError, match="96x65") as raised:
        decode(encoded(taller, "PNG"), limits)
    assert raised.value.members == {"limit": limits.max_pixels}


def test_a_side_beyond_what_can_be_warped_is_refused():
    strip = np.zeros((1, 30_001, 3), np.uint8)
    assert decode(encoded(strip[:, 1:], "PNG")).shape == (1, 30_000, 3)
    for picture in (strip, strip.transpose(1, 0, 2)):
        with pytest.raises(TooManyPixelsError, match="30,000"):
            decode(encoded(picture, "PNG"))


def _bmp_header(width, height):
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def _webp_header(width, height):
    content = bytearray(
        saved(Image.fromarray(RED), "WEBP", save_all=True, append_images=[Image.fromarray(BLUE)], lossless=True)
    )
    assert content[12:16] == b"VP8X"
    content[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


def _jpeg_header(width, height):
    content = bytearray(encoded(PIECE, "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (png(100_000, 100_000), "100000x100000"),
        (_bmp_header(100_000, 100_000), "100000x100000"),
        (_bmp_header(100_000, -100_000), "100000x100000"),
        (_webp_header(65_000, 65_000), "65000x65000"),  # a WebP's area ends at 2^32
        (_jpeg_header(65_000, 65_000), "65000x65000"),
        # A real one: 49 kB that decode to 400 million pixels.
        (png(20_000, 20_000, bytes(20_000 * 2_501), colour=0, depth=1), "20000x20000"),
    ],
    ids=["PNG", "BMP", "BMP top-down", "WEBP", "JPEG", "real PNG"],
)
def test_a_bomb_is_refused_by_its_header_without_the_memory(content, size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooManyPixelsError, match=size):
        decode(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


# --- what cannot be read ---


def test_nothing_is_an_empty_body():
    with pytest.raises(EmptyBodyError, match="0 bytes"):
        decode(b"")


def test_other_content_is_named_and_says_what_is_accepted():
    with pytest.raises(UnsupportedMediaError, match=r"a GIF image; accepted are JPEG, PNG, WebP and BMP"):
        decode(encoded(PIECE, "GIF"))


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_is_unreadable(kind):
    content = encoded(PIECE, kind)
    with pytest.raises(UnreadableMediaError, match="truncated or damaged"):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_an_error_of_ours_or_the_whole_picture(kind):
    content = encoded(PIECE, kind)
    whole = decode(content)
    cuts = {*range(40), *range(40, len(content), max(len(content) // 150, 1)), *range(len(content) - 20, len(content))}
    for cut in sorted(cuts):
        picture = decoded_or_refused(content[:cut])
        if picture is not None:
            np.testing.assert_array_equal(picture, whole)
            assert cut > len(content) - 32  # checksums and end marks may be lost


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    magic=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x40\x00\x00\x00WEBPVP8 "]),
    rest=st.binary(max_size=300),
)
def test_garbage_after_a_signature_is_an_error_of_ours(magic, rest):
    decoded_or_refused(magic + rest)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    # Half of the changes hit the headers, where the harm is done.
    headers=st.booleans(),
)
def test_a_damaged_file_is_an_error_of_ours_or_a_picture_within_the_limits(kind, changes, headers):
    content = bytearray(_SMALL[kind])
    for place, value in changes:
        content[place % (60 if headers else len(content))] = value
    decoded_or_refused(bytes(content))


_SMALL = {kind: encoded(PIECE[:16, :24], kind) for kind in KINDS}
