"""Real pictures and clips with some of their bytes changed: what a careless or hostile client may send.

A case is known by its number: the same number makes the same bytes.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from PIL import Image

from support.clips import clip, nobody, person
from support.pictures import astronaut, encoded

Change = Callable[[bytearray, random.Random, bytes], None]
"""Changes content in place, given random numbers and another seed's content."""

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which sizes, counts and offsets overflow or turn negative."""

_HEADER = 600
"""Half of the changes fall within so many bytes from the start, where a file says how large its parts are."""

_MARKS = {
    "jpeg": (b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xdd", b"\xff\xe1"),
    "png": (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf"),
    "webp": (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"),
    "bmp": (),
    "mov": (b"moov", b"tkhd", b"mdhd", b"stsd", b"stts", b"stsz", b"stsc", b"stco", b"elst", b"avcC", b"moof", b"trun"),
    "matroska": (
        b"\x1a\x45\xdf\xa3",
        b"\x15\x49\xa9\x66",
        b"\x16\x54\xae\x6b",
        b"\x1f\x43\xb6\x75",
        b"\x1c\x53\xbb\x6b",
    ),
    "avi": (b"avih", b"strh", b"strf", b"movi", b"idx1", b"00dc"),
}
"""Where the parts of a file begin, for changes that hit their fields."""


@cache
def image_seeds() -> dict[str, bytes]:
    """Photos of a person in every form that is accepted, by a name that begins with the kind."""
    head = np.ascontiguousarray(astronaut()[:256, 96:352])
    large = cv2.resize(astronaut(), (1400, 1400), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken by a test" * 20
    grey, alpha = head.mean(axis=2).astype(np.uint8), np.dstack([head, np.full(head.shape[:2], 255, np.uint8)])
    palette = Image.fromarray(head).quantize(64)
    return {
        "jpeg-baseline": encoded(head, "JPEG", quality=88),
        "jpeg-progressive": encoded(head, "JPEG", quality=88, progressive=True),
        "jpeg-large": encoded(large, "JPEG", quality=70),
        "jpeg-full-chroma": encoded(head, "JPEG", quality=92, subsampling=0, restart_marker_rows=4),
        "jpeg-grey": encoded(grey, "JPEG"),
        "jpeg-exif": encoded(head, "JPEG", exif=exif.tobytes()),
        "jpeg-cmyk": _saved(Image.fromarray(head).convert("CMYK"), "JPEG"),
        "png-rgb": encoded(head, "PNG"),
        "png-alpha": encoded(alpha, "PNG", exif=exif.tobytes()),
        "png-palette": _saved(palette, "PNG"),
        "png-16-bit": encoded(grey.astype(np.uint16) * 257, "PNG"),
        "webp-lossy": encoded(head, "WEBP", quality=80),
        "webp-lossless": encoded(alpha, "WEBP", lossless=True, exif=exif.tobytes()),
        "webp-animated": _saved(
            Image.fromarray(head[:64, :64]), "WEBP", save_all=True, append_images=[Image.fromarray(head[64:128, :64])]
        ),
        "bmp-rgb": encoded(head, "BMP"),
    }


@cache
def clip_seeds() -> dict[str, bytes]:
    """Clips of a person in every container that is accepted, by a name that begins with the demuxer's."""
    short = {"seconds": 1.0}
    fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return {
        "mov-h264": clip(**short),
        "mov-h264-sound": clip(sound=True, **short),
        "mov-fast-start": clip(container_options={"movflags": "faststart"}, **short),
        "mov-fragmented": clip(container_options=fragmented, options={"g": "10"}, **short),
        "mov-hevc": clip(codec="libx265", options={"preset": "ultrafast", "x265-params": "log-level=none"}, **short),
        "mov-turned": clip(kind="mov", rotation_deg=90, **short),
        "mov-nobody": clip(nobody, **short),
        "matroska-vp8": clip(kind="webm", codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"}, **short),
        "matroska-vp9": clip(
            kind="webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}, sound=True, **short
        ),
        "matroska-mjpeg": clip(lambda n: person(n, 240, 180), kind="matroska", codec="mjpeg", **short),
        "avi-mpeg4": clip(kind="avi", codec="mpeg4", **short),
    }


def mutated(seeds: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The name of a seed, and its content with one to six changes; the number decides on all of it."""
    draw = random.Random(number)
    name = draw.choice(sorted(seeds))
    other = seeds[draw.choice(sorted(seeds))]
    content = bytearray(seeds[name])
    kind = name.partition("-")[0]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        if not content:
            break
        if _MARKS[kind] and draw.random() < 0.3:
            _hit_a_part(content, draw, _MARKS[kind])
        else:
            draw.choice(CHANGES)(content, draw, other)
    # Without this a PNG's reader would stop at the first changed chunk.
    if kind == "png" and draw.random() < 0.7:
        _mend_checksums(content)
    return name, bytes(content)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _somewhere(content: bytearray, draw: random.Random) -> int:
    reach = min(_HEADER, len(content)) if draw.random() < 0.5 else len(content)
    return draw.randrange(max(reach, 1))


def _flip_bits(content: bytearray, draw: random.Random, _other: bytes) -> None:
    for _ in range(draw.choice((1, 1, 4, 32))):
        content[_somewhere(content, draw)] ^= 1 << draw.randrange(8)


def _set_number(content: bytearray, draw: random.Random, _other: bytes) -> None:
    _write_number(content, draw, _somewhere(content, draw))


def _write_number(content: bytearray, draw: random.Random, place: int) -> None:
    layout = draw.choice((">B", ">H", "<H", ">I", "<I", ">Q"))
    size = struct.calcsize(layout)
    value = draw.choice(EDGES) if draw.random() < 0.7 else draw.getrandbits(8 * size)
    written = struct.pack(layout, value % (1 << (8 * size)))
    content[place : place + size] = written[: max(len(content) - place, 0)]


def _noise(content: bytearray, draw: random.Random, _other: bytes) -> None:
    place = _somewhere(content, draw)
    length = draw.choice((1, 8, 64, 1000))
    content[place : place + length] = draw.randbytes(min(length, len(content) - place))


def _insert(content: bytearray, draw: random.Random, _other: bytes) -> None:
    place = _somewhere(content, draw)
    content[place:place] = draw.randbytes(draw.choice((1, 2, 16, 300)))


def _delete(content: bytearray, draw: random.Random, _other: bytes) -> None:
    place = _somewhere(content, draw)
    del content[place : place + draw.choice((1, 2, 16, 300, 5000))]


def _repeat(content: bytearray, draw: random.Random, _other: bytes) -> None:
    place, length = _somewhere(content, draw), draw.choice((2, 12, 100, 2000))
    content[place:place] = bytes(content[place : place + length]) * draw.choice((1, 2, 20, 200))


def _cut(content: bytearray, draw: random.Random, _other: bytes) -> None:
    del content[draw.randrange(len(content)) :]


def _swap(content: bytearray, draw: random.Random, _other: bytes) -> None:
    length = draw.choice((4, 32, 500))
    left, right = sorted((_somewhere(content, draw), _somewhere(content, draw)))
    if left + length <= right and right + length <= len(content):
        content[left : left + length], content[right : right + length] = (
            content[right : right + length],
            content[left : left + length],
        )


def _join(content: bytearray, draw: random.Random, other: bytes) -> None:
    content[draw.randrange(len(content)) :] = other[draw.randrange(len(other)) :]


CHANGES: tuple[Change, ...] = (
    _flip_bits,
    _flip_bits,
    _set_number,
    _set_number,
    _set_number,
    _noise,
    _insert,
    _delete,
    _repeat,
    _cut,
    _swap,
    _join,
)


def _hit_a_part(content: bytearray, draw: random.Random, marks: tuple[bytes, ...]) -> None:
    """Write a number into the first fields of a part of the file, or into the size before its name."""
    place = content.find(draw.choice(marks))
    if place >= 0:
        _write_number(content, draw, max(place + draw.randrange(-4, 40), 0))


def _mend_checksums(content: bytearray) -> None:
    at = 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4
