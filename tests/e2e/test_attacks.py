"""Attempts to get a `live` by the way a picture is wrapped or composed: each of them must fail closed."""

import io
import itertools
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from support.clips import clip, person, person_clip
from support.pictures import astronaut, encoded, no_face
from support.variants import slow_but

JPEG = encoded(astronaut(), quality=95)
PNG = encoded(astronaut(), "PNG")
FACE = astronaut()[20:220, 130:320]
"""The head of the astronaut, 190x200 pixels."""


def ask(server, content, path="/v1/liveness", **query):
    with server.client() as client:
        return client.post(path, content=content, params=query)


def answer(server, content, **query):
    response = ask(server, content, **query)
    assert response.status_code == 200, response.text
    return response.json()


def code(server, content, **query):
    response = ask(server, content, **query)
    return response.status_code, response.json().get("code")


def assert_not_live(said):
    assert said["verdict"] == "undetermined"
    assert said["reasons"]
    assert said["score"] is None
    assert all(face["verdict"] != "live" for face in said["faces"])


@pytest.fixture(scope="module")
def score(server):
    """The score of the astronaut, whose verdict is live."""
    said = answer(server, PNG)
    assert said["verdict"] == "live"
    return said["score"]


@pytest.fixture(scope="module")
def jpeg_score(server):
    return answer(server, JPEG)["score"]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def in_jpeg(*segments):
    """The JPEG with more segments at its start."""
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def exif(orientation=1, note=""):
    made = Image.Exif()
    made[0x0112] = orientation
    made[0x010E] = note
    return made


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil.html", "<script>alert(1)</script>")
    return file.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif_with_thumbnail(picture):
    """EXIF whose second directory has a JPEG of another picture."""
    thumbnail = encoded(picture)
    first = b"II*\0" + struct.pack("<IHI", 8, 0, 14)
    entries = struct.pack("<HHII", 0x0201, 4, 1, 44) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    return segment(0xE1, b"Exif\0\0" + first + struct.pack("<H", 2) + entries + bytes(4) + thumbnail)


# --- the same pixels in every wrapping ---

TURNED_BACK = {1: 0, 3: 2, 6: 1, 8: 3}
"""EXIF orientation -> quarter turns to the left of the stored picture, so that a viewer shows it upright."""


def _opaque():
    return np.dstack([astronaut(), np.full((512, 512), 255, np.uint8)])


SAME_PIXELS = {
    "BMP": lambda: encoded(astronaut(), "BMP"),
    "WebP": lambda: encoded(astronaut(), "WEBP", lossless=True),
    "PNG without compression": lambda: encoded(astronaut(), "PNG", compress_level=0),
    "PNG of 16 bits": lambda: cv2.imencode(".png", astronaut()[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
    "PNG, opaque alpha": lambda: encoded(_opaque(), "PNG"),
    "WebP, opaque alpha": lambda: encoded(_opaque(), "WEBP", lossless=True),
    "PNG with a JPEG inside": lambda: PNG[:33] + chunk(b"juNk", encoded(no_face())) + PNG[33:],
    "PNG and a ZIP behind": lambda: PNG + zipped(),
    "PNG and a JPEG behind": lambda: PNG + encoded(no_face()),
    **{
        f"PNG, orientation {tag}": lambda tag=tag, turns=turns: encoded(
            np.ascontiguousarray(np.rot90(astronaut(), turns)), "PNG", exif=exif(tag)
        )
        for tag, turns in TURNED_BACK.items()
    },
}


@pytest.mark.parametrize("wrapping", slow_but(("WebP, opaque alpha", "PNG, orientation 6"), SAME_PIXELS))
def test_the_same_pixels_in_another_wrapping_get_the_same_answer(server, score, wrapping):
    said = answer(server, SAME_PIXELS[wrapping]())
    assert said["score"] == pytest.approx(score, abs=1e-6)
    assert said["verdict"] == "live"


SAME_JPEG = {
    "a ZIP behind": lambda: JPEG + zipped(),
    "a second JPEG behind": lambda: JPEG + encoded(no_face()),
    "a clip behind": lambda: JPEG + person_clip(),
    "20 EXIF segments of 64 kB": lambda: in_jpeg(*[segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 20),
    "a note of 60 kB in its EXIF": lambda: encoded(astronaut(), quality=95, exif=exif(note="x" * 60_000)),
    "another face as thumbnail": lambda: in_jpeg(exif_with_thumbnail(np.ascontiguousarray(FACE[:, ::-1]))),
    "no face as thumbnail": lambda: in_jpeg(exif_with_thumbnail(no_face()[:120, :160])),
    "a comment that is a script": lambda: in_jpeg(segment(0xFE, b"<script>alert(1)</script>")),
    "1 MB of XMP": lambda: in_jpeg(*[segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b" " * 65_000)] * 16),
    "a GIF in a comment": lambda: in_jpeg(segment(0xFE, encoded(no_face()[:100, :100], "GIF"))),
}


@pytest.mark.parametrize("wrapping", slow_but(("a second JPEG behind", "another face as thumbnail"), SAME_JPEG))
def test_what_lies_beside_a_jpegs_picture_changes_nothing(server, jpeg_score, wrapping):
    assert answer(server, SAME_JPEG[wrapping]())["score"] == pytest.approx(jpeg_score, abs=1e-6)


def test_body_and_form_name_and_declared_type_change_nothing(server, score):
    with server.client() as client:
        for name, kind in (("photo.jpg", "image/jpeg"), ("../../etc/passwd", "text/html"), ("a.svg", "image/svg+xml")):
            form = client.post("/v1/liveness", files={"image": (name, PNG, kind)})
            body = client.post("/v1/liveness", content=PNG, headers={"Content-Type": kind})
            assert form.json()["score"] == body.json()["score"] == pytest.approx(score, abs=1e-6)


def test_the_same_upload_again_gets_the_same_answer_and_an_id_of_its_own(server):
    answers = [answer(server, JPEG) for _ in range(3)]
    assert len({said["request_id"] for said in answers}) == 3
    assert len({(said["verdict"], said["score"], said["threshold"]) for said in answers}) == 1


@pytest.mark.parametrize("kind", slow_but(("CMYK", "grey of 16 bits"), ["grey", "CMYK", "palette", "grey of 16 bits"]))
def test_other_colours_are_decoded_as_what_a_viewer_shows(server, kind):
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    image = Image.fromarray(astronaut())
    content, shown = {
        "grey": lambda: (encoded(grey, "PNG"), np.dstack([grey] * 3)),
        "grey of 16 bits": lambda: (
            cv2.imencode(".png", grey.astype(np.uint16) * 257)[1].tobytes(),
            np.dstack([grey] * 3),
        ),
        "palette": lambda: (saved(image.quantize(64), "PNG"), np.asarray(image.quantize(64).convert("RGB"))),
        "CMYK": lambda: (saved(image.convert("CMYK"), "JPEG", quality=100, subsampling=0), astronaut()),
    }[kind]()
    within = 0.05 if kind == "CMYK" else 1e-6
    said, expected = answer(server, content), answer(server, encoded(shown, "PNG"))
    assert said["verdict"] == expected["verdict"]
    assert said["score"] == pytest.approx(expected["score"], abs=within)


# --- two files in one ---

REFUSED = {
    "GIF with a JPEG behind": (lambda: encoded(no_face(), "GIF") + JPEG, 415),
    "GIF head on a JPEG": (lambda: b"GIF89a" + JPEG, 415),
    "ZIP with a JPEG behind": (lambda: zipped() + JPEG, 415),
    "PDF head on a JPEG": (lambda: b"%PDF-1.7\n" + JPEG, 415),
    "HTML before a JPEG": (lambda: b"<html>" + JPEG, 415),
    "TIFF": (lambda: encoded(astronaut(), "TIFF"), 415),
    "JPEG head on a clip": (lambda: JPEG[:20] + person_clip(), 400),
    "JPEG head on a PNG": (lambda: b"\xff\xd8\xff\xe0" + PNG, 400),
    "PNG head on a JPEG": (lambda: PNG[:8] + JPEG, 400),
    "PNG without a picture": (lambda: PNG[:33] + chunk(b"juNk", JPEG) + chunk(b"IEND", b""), 400),
}


@pytest.mark.parametrize("polyglot", REFUSED)
def test_two_files_in_one_are_refused_unless_the_picture_is_whole(server, polyglot):
    make, status = REFUSED[polyglot]
    assert code(server, make()) == (status, "unsupported_media" if status == 415 else "unreadable_media")


def test_a_photo_is_no_clip_and_a_clip_is_no_photo_whatever_lies_behind(server):
    assert code(server, person_clip() + JPEG) == (415, "unsupported_media")
    assert code(server, JPEG + person_clip(), path="/v1/liveness/video") == (415, "unsupported_media")


# --- under, behind, in transparency ---


def layered(picture, alpha):
    return np.dstack([picture, np.broadcast_to(alpha, picture.shape[:2]).astype(np.uint8)])


GREY = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
HALVES = np.where(np.arange(512) < 256, 0, 255)
TRANSPARENT = {
    "a face that is only in the alpha of black": lambda: encoded(
        layered(np.zeros_like(astronaut()), 255 - GREY), "PNG"
    ),
    "the same as WebP": lambda: encoded(layered(np.zeros_like(astronaut()), 255 - GREY), "WEBP", lossless=True),
    "a face that is only in the alpha of white": lambda: encoded(layered(np.full_like(astronaut(), 255), GREY), "PNG"),
    "a face under full transparency": lambda: encoded(layered(astronaut(), 0), "PNG"),
    "a face under a haze": lambda: encoded(layered(astronaut(), 254), "PNG"),
    "half a face": lambda: encoded(layered(astronaut(), HALVES), "PNG"),
    "one hole in a corner": lambda: encoded(
        layered(astronaut(), np.pad([[0]], ((0, 511), (0, 511)), "maximum")), "PNG"
    ),
    "grey with alpha": lambda: saved(Image.fromarray(np.dstack([GREY * 0, 255 - GREY]), "LA"), "PNG"),
    "a palette with alpha": lambda: saved(
        Image.fromarray(astronaut()).quantize(64), "PNG", transparency=bytes([0] * 32)
    ),
}


@pytest.mark.parametrize("layers", slow_but(("the same as WebP", "one hole in a corner"), TRANSPARENT))
def test_what_depends_on_the_background_is_no_picture(server, layers):
    content = TRANSPARENT[layers]()
    assert code(server, content) == (415, "transparent_image")
    assert code(server, content, faces="all") == (415, "transparent_image")


# --- how the face lies in the picture ---


def pasted(picture, x, y, on=None):
    """A picture pasted into another one, as far as it lies inside."""
    canvas = np.array(no_face() if on is None else on)
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + picture.shape[1], width), min(y + picture.shape[0], height)
    canvas[y1:y2, x1:x2] = picture[y1 - y : y2 - y, x1 - x : x2 - x]
    return canvas


def small(side):
    return cv2.resize(FACE, (side, side), interpolation=cv2.INTER_AREA)


PLACED = {
    "small": lambda: pasted(small(50), 200, 200),
    "very small": lambda: pasted(small(20), 200, 200),
    "small and enlarged": lambda: cv2.resize(pasted(small(24), 100, 100)[80:160, 80:160], (512, 512)),
    "beyond the left border": lambda: pasted(FACE, -110, 100),
    "beyond the right border": lambda: pasted(FACE, 600 - 85, 100),
    "beyond the top": lambda: pasted(FACE, 200, -110),
    "beyond the bottom": lambda: pasted(FACE, 200, 400 - 85),
    "upside down": lambda: pasted(FACE[::-1], 200, 100),
    "beside another face": lambda: pasted(FACE, 0, 0, on=pasted(FACE, 300, 0)),
    "small behind another face": lambda: pasted(small(90), 10, 10, on=astronaut()),
    "under a veil of grey": lambda: (astronaut() // 20 + 120).astype(np.uint8),
    "in the dark": lambda: (astronaut() // 16).astype(np.uint8),
}


@pytest.mark.parametrize("place", slow_but(("very small", "beyond the right border", "upside down"), PLACED))
def test_a_face_that_is_pasted_badly_is_not_scored(server, place):
    assert_not_live(answer(server, encoded(np.ascontiguousarray(PLACED[place]()), "PNG")))


@pytest.mark.parametrize(
    ("policy", "size", "turns"),
    slow_but(
        (("single", 1.0, 1), ("largest", 1.0, 2), ("all", 1.0, 3)),
        itertools.product(("single", "largest", "all"), (1.0, 1.5), (1, 2, 3)),
    ),
)
def test_a_face_on_its_side_or_head_is_not_scored(server, policy, size, turns):
    picture = cv2.resize(np.rot90(astronaut(), turns), None, fx=size, fy=size)
    assert_not_live(answer(server, encoded(np.ascontiguousarray(picture), "PNG"), faces=policy))


def test_a_clip_of_a_face_on_its_side_is_not_scored(server):
    content = clip(lambda n: np.ascontiguousarray(np.rot90(person(n, 480, 360))), fps=8)
    response = ask(server, content, path="/v1/liveness/video")
    assert response.status_code == 200, response.text
    assert_not_live(response.json())


def test_the_reason_names_what_is_wrong_with_a_face_on_its_side(server):
    said = answer(server, encoded(np.ascontiguousarray(np.rot90(astronaut(), 3)), "PNG"))
    # Where the landmarks tell that it lies, it is the pose; where they do not, the picture was turned to find out.
    lies = abs(said["faces"][0]["quality"]["roll_deg"]) > 40
    assert said["reasons"] == (["extreme_pose"] if lies else ["face_rotated"])


def test_an_orientation_in_the_metadata_turns_the_face_and_not_the_verdict(server):
    assert_not_live(answer(server, encoded(astronaut(), "PNG", exif=exif(8))))
    assert_not_live(answer(server, encoded(astronaut(), "PNG", exif=exif(3))))


def test_of_two_faces_the_worse_one_decides(server):
    both = pasted(small(120), 0, 0, on=np.concatenate([no_face()[:, :300], pasted(FACE, 0, 100)], axis=1))
    said = answer(server, encoded(np.ascontiguousarray(both), "PNG"), faces="all")
    if said["score"] is not None:
        assert said["score"] == min(face["score"] for face in said["faces"])
    assert_not_live(answer(server, encoded(np.ascontiguousarray(both), "PNG")))
