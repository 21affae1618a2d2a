"""Tells the kind of a file from its content. File names and declared types are ignored: a client may be wrong."""

from liveness_core.video import VideoKind, video_kind
from liveness_service.decoding.boxes import media_file

ACCEPTED = "JPEG, PNG, WebP, HEIC, AVIF and BMP"
"""The kinds of photos that are accepted, in words."""
NO_SEQUENCES = (
    "send one photo as JPEG, PNG, WebP, HEIC or AVIF, or what a camera recorded as MP4, MOV or WebM to "
    "/v1/liveness/video"
)
"""What to send in place of an animation or a burst."""

# Pillow's name of each kind that is accepted, and how its files begin.
_ACCEPTED: tuple[tuple[str, bytes], ...] = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("BMP", b"BM"),
)

# Kinds that users send by mistake. The answer names the kind and, where that helps, says what to do.
_REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", f"a GIF image, a format of animations: {NO_SEQUENCES}"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x00\x00\x01\x00", "an icon file"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska video; clips go to /v1/liveness/video"),
    (4, b"ftypcrx ", "a raw photo; send the JPEG that the camera makes of it"),
    (8, b"AVI ", "an AVI video; clips go to /v1/liveness/video"),
    (0, b"FLV\x01", "a Flash video; convert it to MP4 or WebM"),
    (0, b"OggS", "an Ogg file; convert it to MP4 or WebM"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file; convert it to MP4 or WebM"),
    (0, b"\x00\x00\x01\xba", "an MPEG program stream; convert it to MP4 or WebM"),
    (0, b"\x47\x40", "an MPEG transport stream; convert it to MP4 or WebM"),
    (0, b"#EXTM3U", "a playlist; send the clip itself"),
    (0, b"ffconcat", "a list of files; send the clip itself"),
    (0, b"data:", "a data URL; send the bytes that its base64 stands for"),
    (0, b"http://", "a URL; send the image itself"),
    (0, b"https://", "a URL; send the image itself"),
    (0, b"/9j/", "base64 text; send the bytes that it stands for"),
    (0, b"iVBORw0KGgo", "base64 text; send the bytes that it stands for"),
    (0, b"{", "JSON; send it with Content-Type: application/json, and the file in it as base64"),
    (0, b"<", "HTML, SVG or XML"),
)

_NAMES = {"HEIF": "a HEIC image (HEIF)", "AVIF": "an AVIF image", "WEBP": "a WebP image"}


def image_kind(content: bytes) -> str | None:
    """Pillow's name of the kind of image; None where the content is not an image of an accepted kind."""
    for kind, magic in _ACCEPTED:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    file = media_file(content)
    if file is not None and file.is_still:
        return "AVIF" if file.is_avif else "HEIF"
    return None


def clip_kind(content: bytes) -> VideoKind | None:
    """The kind of clip; None where the content is not a clip of an accepted kind, as with a HEIC picture."""
    kind = video_kind(content[:16])
    if kind == "mov":
        file = media_file(content)
        if file is not None and (file.is_still or file.is_sequence):
            return None
    return kind


def describe(content: bytes) -> str:
    """What refused content seems to be, in words for the error message."""
    if (kind := image_kind(content)) is not None:
        return f"{_NAMES.get(kind, f'a {kind} image')}; photos go to /v1/liveness"
    for offset, magic, name in _REFUSED:
        if content[offset : offset + len(magic)] == magic:
            return name
    file = media_file(content)
    if file is not None and file.is_sequence:
        return f"{'an AVIF' if file.is_avif else 'a HEIF'} sequence of pictures: {NO_SEQUENCES}"
    if video_kind(content[:16]) == "mov":
        return "a video; clips go to /v1/liveness/video"
    try:
        content[:64].decode("ascii")
    except UnicodeDecodeError:
        return "something else"
    return "text"
