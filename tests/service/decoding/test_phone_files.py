"""What phones, cameras and browsers send, by the kinds of public bug reports (`tests/support/phones.py`)."""

import io
import struct
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.decoding.kinds import clip_kind, image_kind
from liveness_service.errors import (
    TooManyPixelsError,
    TransparentImageError,
    UnreadableMediaError,
    UnsupportedMediaError,
)
from support import phones
from support.pictures import astronaut, encoded

LIMITS = ImageLimits(max_pixels=1_000_000)
PIECE = np.ascontiguousarray(astronaut()[40:232, 120:376])  # 256 x 192


def decode(content, limits=LIMITS):
    return decode_image(content, limits)


def apart(first, second):
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second).mean()


@pytest.mark.parametrize("make", [phones.heic, lambda picture: encoded(picture, "AVIF", quality=92, speed=10)])
def test_heic_and_avif_are_decoded_within_the_limits(make):
    content = make(PIECE)
    assert apart(decode(content), PIECE) < 4
    assert clip_kind(content) is None
    assert decode(content, ImageLimits(256 * 192)).shape == PIECE.shape
    with pytest.raises(TooManyPixelsError, match="256x192"):
        decode(content, ImageLimits(256 * 192 - 1))
    with pytest.raises(UnreadableMediaError, match="truncated or damaged"):
        decode(content[: len(content) // 2])
    with pytest.raises(UnreadableMediaError):
        decode(content[:200])


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_transparent_heic_or_avif_is_refused_and_an_opaque_one_is_not(kind):
    make = phones.heic if kind == "HEIC" else lambda picture: encoded(picture, "AVIF", speed=10)
    rgba = np.dstack([PIECE, np.full(PIECE.shape[:2], 255, np.uint8)])
    assert apart(decode(make(rgba)), PIECE) < 8
    rgba[40:80, 40:80, 3] = 90
    with pytest.raises(TransparentImageError):
        decode(make(rgba))


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_grey_heic_and_avif_are_grey(kind):
    grey = cv2.cvtColor(PIECE, cv2.COLOR_RGB2GRAY)
    content = phones.heic(grey) if kind == "HEIC" else encoded(grey, "AVIF", speed=10)
    assert apart(decode(content), np.repeat(grey[..., None], 3, axis=2)) < 4


def rebranded(content, major, *compatible):
    length = struct.unpack(">I", content[:4])[0]
    brands = struct.pack(">I4sI", 0, b"ftyp", 0)[4:8] + major + bytes(4) + b"".join(compatible)
    brands = brands.ljust(length - 4, b"\0")
    assert len(brands) == length - 4  # the places of all that follows stay as they are
    return content[:4] + brands + content[length:]


@pytest.mark.parametrize(
    "brands",
    [(b"mif1", b"heic"), (b"mif1", b"miaf", b"heix"), (b"heix", b"mif1"), (b"miaf", b"heic"), (b"mp42", b"heic")],
)
def test_a_heic_is_told_by_all_of_its_brands(brands):
    content = rebranded(phones.heic(PIECE), *brands)
    assert (image_kind(content), clip_kind(content)) == ("HEIF", None)


@pytest.mark.parametrize(
    "brands", [(b"mif1", b"avif"), (b"mif1", b"miaf"), (b"miaf", b"avif"), (b"avif", b"avis"), (b"heic", b"avif")]
)
def test_an_avif_is_told_by_its_coding_and_all_of_its_brands(brands):
    content = rebranded(encoded(PIECE, "AVIF", speed=10), *brands)
    assert (image_kind(content), clip_kind(content)) == ("AVIF", None)
    assert apart(decode(content), PIECE) < 8


def test_a_video_that_lists_a_brand_of_photos_is_a_video():
    tracks = struct.pack(">I4s", 8, b"moov")
    content = struct.pack(">I4s4sI", 24, b"ftyp", b"isom", 0) + b"isommif1" + tracks
    assert (image_kind(content), clip_kind(content)) == (None, "mov")


# --- sequences ---


def animation(kind, **options):
    first, *rest = (Image.fromarray(np.roll(PIECE, 9 * step, axis=1)) for step in range(3))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=rest, duration=100, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("AVIF", {"speed": 10}), ("WEBP", {}), ("PNG", {}), ("PNG", {"default_image": True}), ("GIF", {})],
)
def test_a_sequence_is_neither_a_photo_nor_a_clip_and_the_answer_says_what_to_send(kind, options):
    content = animation(kind, **options)
    with pytest.raises(UnsupportedMediaError, match=r"send one photo as JPEG.* MP4, MOV or WebM to /v1/liveness/video"):
        decode(content)
    assert clip_kind(content) is None


def test_an_apng_of_one_frame_is_a_photo_unless_another_frame_is_shown():
    control = struct.pack(">IIIIIHHBB", 0, 256, 192, 0, 0, 1, 10, 0, 0)
    one, drawn = phones.png_chunk(b"acTL", struct.pack(">II", 1, 0)), phones.png_chunk(b"fcTL", control)
    np.testing.assert_array_equal(decode(phones.png_with(PIECE, one, drawn)), PIECE)
    with pytest.raises(UnsupportedMediaError, match="animated PNG"):
        decode(phones.png_with(PIECE, one))


def test_the_first_picture_counts_in_motion_photos_and_mpo():
    still = decode(encoded(PIECE, "JPEG", quality=92))
    other = Image.fromarray(255 - PIECE)
    clip = struct.pack(">I4s4sI", 16, b"ftyp", b"mp42", 0) + struct.pack(">I4s", 8, b"moov")
    for content in (phones.motion_photo(PIECE, clip), phones.mpo(PIECE, other), phones.heic(PIECE) + b"\0\0\0\x08mpvd"):
        assert apart(decode(content), still) < 3


# --- case 01: orientation as browsers apply it ---


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("value", [3, 6, 8])
def test_an_orientation_in_xmp_is_ignored(kind, value):
    info = {"xmp": phones.xmp(value)} if kind != "PNG" else {}
    content = encoded(PIECE, kind, **info)
    if kind == "PNG":
        content = phones.png_with(PIECE, phones.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + phones.xmp(value)))
    assert apart(decode(content), PIECE) < 8
    assert apart(decode(encoded(PIECE, kind, **info, exif=phones.exif(6))), np.rot90(PIECE, -1)) < 8


@pytest.mark.parametrize("value", range(1, 9))
def test_heic_and_avif_are_turned_by_their_boxes(value):
    exif = Image.Exif()
    exif[0x0112] = value
    image = Image.fromarray(PIECE)
    image.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(image))
    assert apart(decode(phones.heic(PIECE, value)), upright) < 4
    assert apart(decode(encoded(PIECE, "AVIF", exif=exif.tobytes(), speed=10)), upright) < 8


def test_exif_does_not_turn_a_heic():
    plain, turned = phones.exif(1), phones.exif(6)
    content = phones.heic(PIECE)
    assert content.count(plain) == 1
    assert apart(decode(content.replace(plain, turned)), PIECE) < 4


# --- case 03: a JPEG whose decoder warns ---

WHOLE = encoded(astronaut(), "JPEG", quality=92)


@pytest.mark.parametrize(
    ("at", "lost"), [(0.22, 200), (0.22, 1500), (0.36, 1500), (0.5, 1500), (0.2, 0), (0.45, 0), (0.97, 0)]
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lost_bytes_of_its_scan_is_damaged(at, lost, progressive):
    content = encoded(astronaut(), "JPEG", quality=92, progressive=progressive)
    with pytest.raises(UnreadableMediaError, match="truncated or damaged"):
        decode(phones.damaged_jpeg(content, at, lost))


def test_what_follows_the_end_of_a_jpeg_is_no_damage():
    np.testing.assert_array_equal(decode(WHOLE + b"\0" * 100 + WHOLE[:500]), decode(WHOLE))


# --- metadata that browsers accept ---


@pytest.mark.parametrize("name", phones.odd_pngs(PIECE[:8, :8]))
def test_a_png_is_not_refused_for_its_metadata(name):
    np.testing.assert_array_equal(decode(phones.odd_pngs(PIECE)[name]), PIECE)


@pytest.mark.parametrize("name", phones.odd_jpegs(PIECE[:8, :8]))
def test_a_jpeg_is_not_refused_for_its_metadata(name):
    np.testing.assert_array_equal(decode(phones.odd_jpegs(PIECE)[name]), decode(encoded(PIECE, "JPEG", quality=92)))


# --- case 15: bits in use ---


def deep(picture, bits, **changes):
    values = (picture.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    return cv2.imencode(".png", values[..., ::-1] if picture.ndim == 3 else values)[1].tobytes()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_pictures_are_scaled_by_the_bits_in_use(bits):
    grey = cv2.cvtColor(PIECE, cv2.COLOR_RGB2GRAY)
    grey[0, 0], bright = 255, PIECE.copy()
    bright[0, 0] = 255
    assert apart(decode(deep(grey, bits)), np.repeat(grey[..., None], 3, axis=2)) < 1
    assert apart(decode(deep(bright, bits)), bright) < 1


def test_bits_that_the_file_names_count():
    grey = cv2.cvtColor(PIECE, cv2.COLOR_RGB2GRAY) // 8
    content = deep(grey, 12)
    named = content[:33] + phones.png_chunk(b"sBIT", b"\x0c") + content[33:]
    assert apart(decode(named), np.repeat(grey[..., None], 3, axis=2)) < 1
    assert decode(content).mean() > 1.9 * decode(named).mean()


# --- colour profiles ---


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
def test_colours_of_a_profile_become_those_of_srgb(space, kind):
    profile = phones.wide_profile(space)
    stored = phones.in_profile(PIECE, profile)
    assert apart(stored, PIECE) > 2
    if kind == "HEIC":
        content = phones.heic(stored, quality=95, profile=profile)
    else:
        options = {"PNG": {}, "AVIF": {"quality": 95, "speed": 10}}.get(kind, {"quality": 95})
        content = encoded(stored, kind, icc_profile=profile, **options)
    assert apart(decode(content).mean((0, 1)), PIECE.mean((0, 1))) < 1.5


def test_code_points_stand_for_colours_too():
    points = phones.png_chunk(b"cICP", bytes([12, 13, 0, 1]))  # Display P3
    stored = phones.in_profile(PIECE, phones.wide_profile("Display P3"))
    assert apart(decode(phones.png_with(stored, points)), PIECE) < 2.5
    assert apart(decode(phones.png_with(stored)), PIECE) > 2.5


def test_a_profile_for_other_pixels_is_ignored():
    content = encoded(PIECE[..., 0], "JPEG", quality=95, icc_profile=phones.wide_profile("Adobe RGB"))
    np.testing.assert_array_equal(decode(content), decode(encoded(PIECE[..., 0], "JPEG", quality=95)))


def test_brightness_rises_evenly_in_a_converted_ramp():
    ramp = np.repeat(np.linspace(0, 255, 256).round().astype(np.uint8)[None, :, None], 3, axis=2)
    content = phones.png_with(np.repeat(ramp, 8, axis=0), phones.png_chunk(b"cICP", bytes([9, 16, 0, 1])))  # PQ
    shown = decode(content)[0, :, 1]
    assert shown[0] == 0
    assert shown[255] == 255
    assert all(after >= before for before, after in pairwise(shown.tolist()))
