import base64

import pytest

from liveness_service.decoding.kinds import describe, image_kind
from support.pictures import astronaut, encoded

HEIC = b"\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1heic" + bytes(20)
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_accepted_kinds_are_told_from_real_files(kind):
    assert image_kind(encoded(astronaut(), kind)) == kind


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "ICO", "PPM", "TGA", "JPEG2000"])
def test_real_files_of_other_kinds_are_not_accepted(kind):
    assert image_kind(encoded(astronaut()[:64, :64], kind)) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\x89PNG", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"RIFF", b"xxBM"])
def test_half_a_signature_is_no_image(content):
    assert image_kind(content) is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (encoded(astronaut()[:64, :64], "GIF"), "GIF"),
        (encoded(astronaut()[:64, :64], "TIFF"), "TIFF"),
        (MP4, "video"),
        (b"\x1aE\xdf\xa3\x01\x00\x00\x00", "WebM"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (base64.b64encode(encoded(astronaut())), "base64"),
        (base64.b64encode(encoded(astronaut(), "PNG")), "base64"),
        (b"data:image/png;base64," + base64.b64encode(encoded(astronaut(), "PNG")), "data URL"),
        (b"http://example.org/me.jpg", "URL"),
        (b"https://example.org/me.jpg", "URL"),
        (b'{"image": "..."}', "JSON"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"this is not a picture\n" * 10, "text"),
        (bytes(range(128, 200)), "something else"),
    ],
)
def test_what_users_send_by_mistake_is_named(content, named):
    assert image_kind(content) is None
    assert named in describe(content)
