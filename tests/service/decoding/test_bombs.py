"""Pictures that are small to send and costly to read are refused before they are read."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from liveness_service.decoding import jpeg, parts, webp
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.errors import TooManyPartsError, TooManyPixelsError, TooManyScansError
from support import bombs
from support.pictures import SHARED, astronaut, encoded

LIMITS = ImageLimits(max_pixels=50_000_000)


COSTLY = {"scans-6900-19MB.jpg", "scans-3000-100kB.jpg"}
"""Take a second to make. There are smaller ones with as many scans for each pixel."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in COSTLY)) for name in bombs.IMAGES]
)
def test_a_bomb_is_refused_at_once(name):
    content = bombs.IMAGES[name]()
    took = []
    for _ in range(3):  # the quickest of three: other tests may keep the machine busy
        start = time.perf_counter()
        with pytest.raises((TooManyScansError, TooManyPartsError, TooManyPixelsError)):
            decode_image(content, LIMITS)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1


def test_the_most_scans_are_decoded_and_one_more_is_not():
    assert decode_image(bombs.jpeg_scans(96, 64, 64), LIMITS).shape == (64, 96, 3)
    with pytest.raises(TooManyScansError, match="64 scans") as raised:
        decode_image(bombs.jpeg_scans(96, 64, 65), LIMITS)
    assert raised.value.members == {"limit": 64}


def test_a_picture_of_the_most_pixels_may_have_twenty_scans():
    limits = ImageLimits(max_pixels=96 * 64)
    assert decode_image(bombs.jpeg_scans(96, 64, 20), limits).shape == (64, 96, 3)
    with pytest.raises(TooManyScansError, match=r"21 scans of 96x64.*at this size 20"):
        decode_image(bombs.jpeg_scans(96, 64, 21), limits)
    assert decode_image(bombs.jpeg_scans(96, 32, 40), limits).shape == (32, 96, 3)
    with pytest.raises(TooManyScansError, match="40 are accepted"):
        decode_image(bombs.jpeg_scans(96, 32, 41), limits)


def test_the_most_segments_are_read_and_one_more_is_not():
    content = bombs.jpeg_segments(jpeg.MAX_SEGMENTS)
    assert jpeg.count_parts(content, 64) == jpeg.JpegParts(1, jpeg.MAX_SEGMENTS)
    assert decode_image(content, LIMITS).shape == (64, 64, 3)
    with pytest.raises(TooManyPartsError, match="2,000 segments"):
        decode_image(bombs.jpeg_segments(jpeg.MAX_SEGMENTS + 1), LIMITS)


def test_the_most_records_are_read_and_one_more_is_not():
    assert decode_image(bombs.jpeg_records(jpeg.MAX_RECORDS), LIMITS).shape == (64, 64, 3)
    with pytest.raises(TooManyPartsError, match="10,000 records"):
        decode_image(bombs.jpeg_records(jpeg.MAX_RECORDS + 1), LIMITS)


def test_the_most_padding_is_read_and_a_byte_more_is_not():
    assert decode_image(bombs.jpeg_padding(jpeg.MAX_PADDING_BYTES), LIMITS).shape == (64, 64, 3)
    with pytest.raises(TooManyPartsError, match="65,536 bytes"):
        decode_image(bombs.jpeg_padding(jpeg.MAX_PADDING_BYTES + 1), LIMITS)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xd9", b"\x00"])
def test_what_pillow_would_pass_over_byte_by_byte_is_refused(filler):
    with pytest.raises(TooManyPartsError):
        decode_image(b"\xff\xd8\xff" + filler * 1_000_000, LIMITS)


def test_the_most_chunks_are_read_and_one_more_is_not():
    assert decode_image(bombs.png_chunks(parts.MAX_CHUNKS), LIMITS).shape == (64, 64, 3)
    with pytest.raises(TooManyPartsError, match="32,768 chunks"):
        decode_image(bombs.png_chunks(parts.MAX_CHUNKS + 1), LIMITS)


def test_a_bmp_of_runs_is_read_up_to_a_megapixel():
    assert decode_image(bombs.bmp_runs(1000, 1000), LIMITS).shape == (1000, 1000, 3)
    with pytest.raises(TooManyPixelsError, match="run-length"):
        decode_image(bombs.bmp_runs(1001, 1000), LIMITS)


# --- scans are counted where a decoder finds them ---


def counted(content):
    return jpeg.count_parts(content, 1_000).scans


def test_scans_in_a_thumbnail_or_behind_the_end_do_not_count():
    content = encoded(astronaut(), progressive=True)
    thumbnail = b"\xff\xe1" + (2_002).to_bytes(2, "big") + bombs.SOS * 1_000
    assert counted(content) == 10
    assert counted(content[:2] + thumbnail + content[2:]) == 10
    assert counted(content + bombs.SOS * 1_000) == 10
    assert counted(encoded(astronaut())) == 1


@pytest.mark.parametrize("hidden_by", [b"\xff\x02\xff\xff", b"\xff\xf7\xff\xff", b"\xff\xd8\xff\xff", b"\xff\xff"])
def test_scans_cannot_be_hidden_behind_a_marker_without_a_length(hidden_by):
    content = bombs.jpeg_scans(64, 64, 100)
    start = content.rindex(bombs.SOS, 0, content.rindex(bombs.SOS) - 1)
    assert counted(content[:start] + hidden_by + content[start:]) >= 100


@pytest.mark.parametrize("filler", [b"\xff\x00", b"\xff", b"\xff\xd0", b"\x00"])
def test_counting_in_twenty_megabytes_takes_no_time(filler):
    content = encoded(astronaut())[:-2] + filler * (20_000_000 // len(filler)) + bombs.EOI
    took = []
    for _ in range(3):
        start = time.thread_time()  # of this thread's own: others may have the cores
        jpeg.count_parts(content, 64)
        took.append(time.thread_time() - start)
    assert min(took) < 0.1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "subsampling": 0}])
def test_what_encoders_write_has_at_most_eighteen_scans(mode, options):
    buffer = io.BytesIO()
    Image.fromarray(astronaut()).convert(mode).save(buffer, "JPEG", **options)
    assert 1 <= counted(buffer.getvalue()) <= 18 < jpeg.SCANS_OF_LARGEST


REAL = sorted(SHARED.glob("cases/*/*.[jp][pn]g"))


@pytest.mark.skipif(not REAL, reason="needs the pictures in shared/cases")
def test_real_pictures_are_far_from_the_limits():
    for file in REAL:
        content = file.read_bytes()
        if file.suffix == ".jpg":
            found = jpeg.count_parts(content, 18)
            assert found.segments < 100, file.name
        else:
            parts.check_chunks(content)


# --- WebP ---


@pytest.mark.parametrize("options", [{"quality": 80}, {"quality": 20}, {"lossless": True}])
@pytest.mark.parametrize("is_transparent", [False, True])
def test_webp_has_the_very_pixels_that_pillow_gives(options, is_transparent):
    image = Image.fromarray(np.ascontiguousarray(astronaut()[:301, :217]))
    if is_transparent:
        image.putalpha(Image.fromarray(np.ascontiguousarray(astronaut()[:301, :217, 1])))
    content = encoded(np.asarray(image), "WEBP", **options)
    with Image.open(io.BytesIO(content)) as decoded:
        np.testing.assert_array_equal(webp.decode_still(content, decoded.size), np.asarray(decoded))
