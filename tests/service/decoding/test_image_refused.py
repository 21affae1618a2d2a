"""Pictures beyond the limits, and files that are no pictures."""

import resource
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from liveness_service.decoding.image import ImageLimits
from liveness_service.errors import (
    EmptyBodyError,
    TooManyPixelsError,
    UnreadableMediaError,
    UnsupportedMediaError,
)
from support.pictures import encoded
from support.small_pictures import BLUE, KINDS, PIECE, RED, decode, decoded_or_refused, png, saved

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
    ("make", "size"),
    [
        (lambda: png(100_000, 100_000), "100000x100000"),
        (lambda: _bmp_header(100_000, 100_000), "100000x100000"),
        (lambda: _bmp_header(100_000, -100_000), "100000x100000"),
        (lambda: _webp_header(65_000, 65_000), "65000x65000"),  # a WebP's area ends at 2^32
        (lambda: _jpeg_header(65_000, 65_000), "65000x65000"),
        # A real one: 49 kB that decode to 400 million pixels.
        (lambda: png(20_000, 20_000, bytes(20_000 * 2_501), colour=0, depth=1), "20000x20000"),
    ],
    ids=["PNG", "BMP", "BMP top-down", "WEBP", "JPEG", "real PNG"],
)
def test_a_bomb_is_refused_by_its_header_without_the_memory(make, size):
    content = make()
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
