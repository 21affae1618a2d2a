"""Decoding takes no more memory than was promised before it began."""

import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_service.decoding import webp
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.promise import NotNowError, told_to
from liveness_service.errors import TooManyPixelsError, UnsupportedMediaError
from support import bombs, phones
from support.pictures import astronaut, encoded

LIMITS = ImageLimits(max_pixels=50_000_000)
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


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
rare = pytest.mark.slow  # a second each: what few cameras write


@needs_proc
@pytest.mark.parametrize(
    ("content", "most"),
    [
        pytest.param(lambda: bombs.webp_pixels(SIDE), 8, id="webp", marks=rare),
        pytest.param(
            lambda: encoded(np.zeros((SIDE, SIDE, 4), np.uint8), "WEBP", method=0), 9, id="transparent webp", marks=rare
        ),
        # 9.96, and 10.2 where no bytecode is kept and Pillow's parts are compiled on the way.
        pytest.param(
            lambda: saved(BLACK, "WEBP", method=0, lossless=True, exif=mirrored(), icc_profile=P3),
            10.5,
            id="mirrored webp",
            marks=rare,
        ),
        pytest.param(lambda: encoded(np.zeros((SIDE, SIDE, 3), np.uint8)), 8.5, id="jpeg"),
        pytest.param(lambda: saved(BLACK, "JPEG", exif=mirrored(), icc_profile=P3), 10, id="mirrored jpeg"),
        pytest.param(
            lambda: saved(BLACK, "PNG", compress_level=1, exif=mirrored(), icc_profile=P3), 10, id="png", marks=rare
        ),
        pytest.param(deep_png, 16, id="deep png", marks=rare),
        pytest.param(lambda: bombs.jpeg_scans(SIDE, SIDE, 10), 8.5, id="progressive jpeg", marks=rare),
        pytest.param(lambda: saved(BLACK, "JPEG", exif=mirrored(), **FULL), 13, id="full colour", marks=rare),
        pytest.param(lambda: saved(BLACK.convert("CMYK"), "JPEG", **FULL), 14, id="four colours", marks=rare),
        pytest.param(lambda: saved(BLACK, "BMP"), 8.5, id="bmp", marks=rare),
        pytest.param(opaque_avif, 16, id="avif", marks=rare),
    ],
)
def test_decoding_takes_the_memory_that_the_settings_name_and_the_header_promises(peak, content, most):
    assert peak(content(), SIDE * SIDE) < most


@needs_proc
@pytest.mark.parametrize(
    ("name", "most"),
    [("HEIC", 11), pytest.param("deep HEIC", 22, marks=rare), pytest.param("deep AVIF", 18, marks=rare)],
)
def test_what_phones_write_keeps_to_its_promise(peak, name, most):
    assert peak(phones.large(name), 9_000_000) < most


@needs_proc
@pytest.mark.parametrize(("options", "most"), [({}, 1), pytest.param(FULL, 7, marks=rare)])
def test_a_reduced_jpeg_promises_less_unless_it_has_scans(peak, options, most):
    assert peak(saved(BLACK, "JPEG", **options), SIDE * SIDE, 8) < most


def test_an_animation_keeps_to_its_promise_too():
    half, red = (Image.new("RGB", (400, 200), colour) for colour in ("black", "red"))
    content = saved(half, "WEBP", save_all=True, append_images=[red], method=0)
    promised = []
    with told_to(promised.append), pytest.raises(UnsupportedMediaError, match="animated WebP"):
        decode_image(content, LIMITS)
    assert promised == [webp.BYTES_A_PIXEL * 400 * 200]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "AVIF", "HEIC"])
def test_every_kind_promises_before_it_is_decoded(kind):
    picture = np.ascontiguousarray(astronaut()[:192, :256])
    content = (
        phones.heic(picture) if kind == "HEIC" else encoded(picture, kind, **({"speed": 10} if kind == "AVIF" else {}))
    )

    def refuse(promised):
        raise NotNowError(promised)

    with told_to(refuse), pytest.raises(NotNowError) as raised:
        decode_image(content, LIMITS)
    assert 10 <= raised.value.memory_bytes / (192 * 256) <= 25


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
