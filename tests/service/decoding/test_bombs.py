"""Pictures that are small to send and costly to read are refused before they are read."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_service.decoding import jpeg, parts, webp
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.promise import NotNowError, told_to
from liveness_service.errors import TooManyPartsError, TooManyPixelsError, TooManyScansError, UnsupportedMediaError
from support import bombs, phones
from support.pictures import SHARED, astronaut, encoded

LIMITS = ImageLimits(max_pixels=50_000_000)


@pytest.mark.parametrize("name", bombs.IMAGES)
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


_PEAKS = """
import json
import os
import sys
from pathlib import Path
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.promise import told_to
from liveness_service.errors import TransparentImageError
from liveness_service.process import prepare_process
from liveness_service.workers.limits import OwnMemory
def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
def peak(content, pixels, factor):
    before = memory("VmRSS")
    own = OwnMemory()
    allocated = own.allocated_bytes()
    own.bound(allocated + (16 << 20))
    try:
        with told_to(lambda promised: own.bound(allocated + (16 << 20) + promised)):
            picture = decode_image(content, ImageLimits(50_000_000), opened=lambda size, is_reducible: factor)
        assert picture.shape[0] * picture.shape[1] * factor**2 == pixels
    except TransparentImageError:  # after it was decoded
        pass
    return (memory("VmHWM") - before) / pixels
prepare_process()
for line in sys.stdin.buffer:
    length, pixels, factor = json.loads(line)
    content = sys.stdin.buffer.read(length)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            print(peak(content, pixels, factor), flush=True)
            status = 0
        except BaseException as error:
            print(json.dumps(repr(error)), flush=True)
        finally:
            os._exit(status)
    os.waitpid(child, 0)
"""
SIDE = 4_000
BLACK = Image.new("RGB", (SIDE, SIDE))
P3 = phones.wide_profile("Display P3")


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mirrored():
    """EXIF data that say that the picture is stored mirrored and on its side: both take a copy."""
    return phones.exif(5)


def deep_png():
    """A mirrored PNG of 16 bits that are not in use, of HDR."""
    content = cv2.imencode(".png", np.zeros((SIDE, SIDE, 3), np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    added = bombs.png_chunk(b"cICP", bytes([9, 16, 0, 1])) + bombs.png_chunk(b"eXIf", mirrored().removeprefix(EXIF))
    return content[:33] + added + content[33:]


def opaque_avif():
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255))
    return saved(image, "AVIF", speed=10, subsampling="4:4:4", exif=mirrored(), icc_profile=P3)


EXIF = b"Exif\0\0"
FULL = {"progressive": True, "subsampling": 0}


@pytest.fixture(scope="module")
def peak():
    """Most memory that decoding takes, in bytes for each stored pixel; it has no more than the header promises.

    Each picture is decoded by a process of its own, as a worker is: forked from one that has imported the service.
    """
    with subprocess.Popen([sys.executable, "-c", _PEAKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def measured(content, pixels, factor=1):
            process.stdin.write(json.dumps([len(content), pixels, factor]).encode() + b"\n" + content)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert isinstance(answer, float), answer
            return answer

        yield measured
        process.stdin.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("content", "most"),
    [
        (lambda: bombs.webp_pixels(SIDE), 8),
        (lambda: encoded(np.zeros((SIDE, SIDE, 4), np.uint8), "WEBP", method=0), 9),
        # 9.96, and 10.2 where no bytecode is kept and Pillow's parts are compiled on the way.
        (lambda: saved(BLACK, "WEBP", method=0, lossless=True, exif=mirrored(), icc_profile=P3), 10.5),
        (lambda: encoded(np.zeros((SIDE, SIDE, 3), np.uint8)), 8.5),
        (lambda: saved(BLACK, "JPEG", exif=mirrored(), icc_profile=P3), 10),
        (lambda: saved(BLACK, "PNG", compress_level=1, exif=mirrored(), icc_profile=P3), 10),
        (deep_png, 16),
        (lambda: bombs.jpeg_scans(SIDE, SIDE, 10), 8.5),
        (lambda: saved(BLACK, "JPEG", exif=mirrored(), **FULL), 13),
        (lambda: saved(BLACK.convert("CMYK"), "JPEG", **FULL), 14),
        (lambda: saved(BLACK, "BMP"), 8.5),
        (opaque_avif, 16),
    ],
    ids=[
        *("webp", "transparent webp", "mirrored webp", "jpeg", "mirrored jpeg", "png", "deep png", "progressive jpeg"),
        *("full colour", "four colours", "bmp", "avif"),
    ],
)
def test_decoding_takes_the_memory_that_the_settings_name_and_the_header_promises(peak, content, most):
    assert peak(content(), SIDE * SIDE) < most


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(("name", "most"), [("HEIC", 11), ("deep HEIC", 22), ("deep AVIF", 18)])
def test_what_phones_write_keeps_to_its_promise(peak, name, most):
    assert peak(phones.large(name), 9_000_000) < most


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(("options", "most"), [({}, 1), (FULL, 7)])
def test_a_reduced_jpeg_promises_less_unless_it_has_scans(peak, options, most):
    assert peak(saved(BLACK, "JPEG", **options), SIDE * SIDE, 8) < most


def test_an_animation_keeps_to_its_promise_too():
    half, red = (Image.new("RGB", (SIDE, SIDE // 2), colour) for colour in ("black", "red"))
    content = saved(half, "WEBP", save_all=True, append_images=[red], method=0)
    promised = []
    with told_to(promised.append), pytest.raises(UnsupportedMediaError, match="animated WebP"):
        decode_image(content, LIMITS)
    assert promised == [webp.BYTES_A_PIXEL * SIDE * SIDE // 2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "AVIF", "HEIC"])
def test_every_kind_promises_before_it_is_decoded(kind):
    content = phones.heic(astronaut()) if kind == "HEIC" else encoded(astronaut(), kind)

    def refuse(promised):
        raise NotNowError(promised)

    with told_to(refuse), pytest.raises(NotNowError) as raised:
        decode_image(content, LIMITS)
    assert 10 <= raised.value.memory_bytes / 512**2 <= 25


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": mirrored()}, {"lossless": True, "exif": mirrored()}]
)
def test_a_webp_says_its_size_before_it_is_opened(options):
    content = saved(Image.new("RGB", (321, 123)), "WEBP", **options)
    assert webp.canvas_size(content) == (321, 123)
    for length in range(30):
        assert webp.canvas_size(content[:length]) is None


def test_a_webp_that_is_too_large_is_not_even_opened():
    content = bytearray(saved(Image.new("RGB", (321, 123)), "WEBP", exif=mirrored()))
    content[24:30] = (16_382).to_bytes(3, "little") * 2
    promised = []
    with told_to(promised.append), pytest.raises(TooManyPixelsError, match="16383x16383"):
        decode_image(bytes(content), LIMITS)
    assert promised == []
