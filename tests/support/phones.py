"""Photos as phones, cameras and browsers write them, and what public bug reports found in such files."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from support.bombs import png_chunk
from support.pictures import encoded


def heic(picture, orientation=1, *, quality=92, profile=None):
    """A HEIC that stores this picture, with the orientation in its own boxes, which is where cameras write it."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    # The encoder writes the box and turns the pixels as well, so it is given what it turns into this picture.
    image.info["exif"] = exif({6: 8, 8: 6}.get(orientation, orientation))
    image = ImageOps.exif_transpose(image)
    image.info["exif"] = exif(orientation)
    if profile is not None:
        image.info["icc_profile"] = profile
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=quality)
    return buffer.getvalue()


def motion_photo(picture, clip, quality=92):
    """A JPEG with a clip behind it, as Pixel and Galaxy phones write it."""
    return encoded(picture, "JPEG", quality=quality) + clip


def mpo(picture, second, quality=92):
    """A JPEG with another picture behind it, such as a gain map."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "MPO", save_all=True, append_images=[second], quality=quality)
    return buffer.getvalue()


def xmp(value):
    """XMP that names an orientation, which browsers ignore."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{value}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def exif(value):
    """EXIF with an orientation."""
    data = Image.Exif()
    data[0x0112] = value
    return data.tobytes()


def damaged_jpeg(content, at, lost):
    """The file without `lost` bytes of its scan, from this share of it on; with none lost, cut there and ended."""
    place = int(len(content) * at)
    return content[:place] + (content[place + lost :] if lost else b"\xff\xd9")


def wide_profile(primaries):
    """An ICC profile of version 2 with the primaries of this colour space and a gamma of 2.2."""
    columns = {
        "Display P3": [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)],
        "Adobe RGB": [(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)],
    }[primaries]

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    gamma = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(78)
    tags = {
        b"desc": text + bytes(-len(text) % 4),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249))),
        **{
            name: b"XYZ " + bytes(4) + b"".join(map(fixed, column))
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma),
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    head = struct.pack(">I", size) + bytes(4) + b"\x02\x40\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def in_profile(picture, profile):
    """The numbers by which a picture of sRGB looks the same in another colour space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(picture), ImageCms.createProfile("sRGB"), target))


def png_with(picture, *chunks):
    """A PNG with further chunks in front of its picture."""
    content = encoded(picture, "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def odd_pngs(picture):
    """PNG that browsers and OpenCV show, and whose metadata Pillow refuses."""
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * 3_000_000, zip=True)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=text)
    return {
        "a text of 3 MB": buffer.getvalue(),
        "a profile of 3 MB": png_with(picture, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000)))),
        "a wrong checksum": png_with(picture, png_chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
    }


def odd_jpegs(picture):
    """JPEG that browsers and OpenCV show, and whose metadata decoders refuse or warn of."""
    plain = encoded(picture, "JPEG", quality=92)

    def with_segment(code, body):
        return plain[:2] + bytes((0xFF, code)) + struct.pack(">H", 2 + len(body)) + body + plain[2:]

    at = plain.index(b"JFIF\0") + 5
    return {
        "an unknown revision of JFIF": plain[:at] + b"\x09" + plain[at + 1 :],
        "an unknown colour transform": with_segment(0xEE, b"Adobe" + bytes((0, 100, 0, 0, 0, 0, 7))),
        "a short JFIF segment": with_segment(0xE0, b"JFIF\0"),
        "a damaged record of Photoshop": with_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4"),
        "one of two pieces of a profile": with_segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(50)),
        "a profile that is none": with_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(50)),
    }
