"""What a file is by its first bytes; names and declared types are the client's word and are not asked."""

# Pillow's name of each kind that is accepted, and how its files begin.
_ACCEPTED: tuple[tuple[str, bytes], ...] = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("BMP", b"BM"),
)

# Kinds that users send by mistake, named so that the answer can say what to do.
_REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x00\x00\x01\x00", "an icon file"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (4, b"ftypheic", "a HEIC image; set the camera to JPEG (“most compatible”) or convert it"),
    (4, b"ftypheix", "a HEIC image; set the camera to JPEG (“most compatible”) or convert it"),
    (4, b"ftypmif1", "a HEIF image; set the camera to JPEG (“most compatible”) or convert it"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (0, b"data:", "a data URL; send the bytes that its base64 stands for"),
    (0, b"http://", "a URL; send the image itself"),
    (0, b"https://", "a URL; send the image itself"),
    (0, b"/9j/", "base64 text; send the bytes that it stands for"),
    (0, b"iVBORw0KGgo", "base64 text; send the bytes that it stands for"),
    (0, b"{", "JSON"),
    (0, b"<", "HTML, SVG or XML"),
)


def image_kind(content: bytes) -> str | None:
    """Pillow's name of the kind of image, or None where it is none that is accepted."""
    for kind, magic in _ACCEPTED:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return None


def describe(content: bytes) -> str:
    """What refused content seems to be, for the message."""
    for offset, magic, name in _REFUSED:
        if content[offset : offset + len(magic)] == magic:
            return name
    try:
        content[:64].decode("ascii")
    except UnicodeDecodeError:
        return "something else"
    return "text"
