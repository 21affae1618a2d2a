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
    TransparentImageError,
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
    with pytest.raises(UnsupportedMediaError, match=r"a GIF image.*accepted are JPEG, PNG, WebP, HEIC, AVIF and BMP"):
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
