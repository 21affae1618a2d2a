"""Files that are small to send and costly to read, each made by a few lines.

    PYTHONPATH=tests python tests/support/bombs.py FOLDER

writes them into a folder, to be sent to a running service. The tests make the same ones in memory.
"""

import argparse
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from support.videos import encode_video

SOS, EOI = b"\xff\xda", b"\xff\xd9"


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG of one colour with so many scans; no decoder finds fault with up to 190 of them.

    Behind its first scan each one says of one coefficient, in one colour, that it is zero in all blocks.
    """
    content = _saved(Image.new("RGB", (width, height), (90, 90, 90)), "JPEG", progressive=True)
    start = content[: content.index(b"\xff\xc4", content.index(SOS))]
    sizes = [(width, height), *[(-(-width // 2), -(-height // 2))] * 2]  # colours have half as many rows and columns
    coded = [_empty_scan(-(-wide // 8) * -(-high // 8)) for wide, high in sizes]
    more = []
    for number in range(scans - 1):
        colour, coefficient = number // 63 % 3, number % 63 + 1
        table, data = coded[colour]
        more.append(
            (b"" if number % 63 else table) + SOS + bytes([0, 8, 1, colour + 1, 0, *[coefficient] * 2, 0]) + data
        )
    return start + b"".join(more) + EOI


def _empty_scan(blocks: int) -> tuple[bytes, bytes]:
    """A table of one code, for a run of blocks whose coefficients are zero, and the data for so many blocks."""
    parts = -(-blocks // 32_767)
    runs = [blocks // parts + (part < blocks % parts) for part in range(parts)]
    bits = runs[-1].bit_length() - 1
    coded = "".join("0" + (f"{run - (1 << bits):0{bits}b}" if bits else "") for run in runs)
    coded += "1" * (-len(coded) % 8)
    data = bytes(int(coded[at : at + 8], 2) for at in range(0, len(coded), 8)).replace(b"\xff", b"\xff\x00")
    return b"\xff\xc4\x00\x14\x10\x01" + bytes(15) + bytes([bits << 4]), data


def jpeg_scans_of_bytes(side: int, size: int) -> bytes:
    """A progressive JPEG of side x side pixels whose repeated last scan fills so many bytes."""
    smallest = jpeg_scans(side, side, 10)
    a_scan = len(jpeg_scans(side, side, 11)) - len(smallest)
    return jpeg_scans(side, side, 10 + max(size - len(smallest), 0) // a_scan)


def jpeg_segments(count: int) -> bytes:
    """A JPEG with so many segments, most of them empty and before the picture."""
    content = _saved(Image.new("RGB", (64, 64)), "JPEG")
    own = sum(content.count(bytes((0xFF, code))) for code in (0xC0, 0xC4, 0xDA, 0xDB, 0xE0))
    return content[:2] + b"\xff\xe5\x00\x02" * (count - own) + content[2:]


def jpeg_records(count: int) -> bytes:
    """A JPEG with so many empty records of Photoshop."""
    content, record, most = _saved(Image.new("RGB", (64, 64)), "JPEG"), b"8BIM\x04\x04" + bytes(6), 5_459
    segments = []
    for start in range(0, count, most):
        body = b"Photoshop 3.0\0" + record * min(most, count - start)
        segments.append(b"\xff\xed" + struct.pack(">H", 2 + len(body)) + body)
    return content[:2] + b"".join(segments) + content[2:]


def jpeg_padding(size: int) -> bytes:
    """A JPEG with so many bytes of padding before its first segment."""
    content = _saved(Image.new("RGB", (64, 64)), "JPEG")
    return content[:2] + b"\xff" * size + content[2:]


def png_chunk(name: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_chunks(count: int) -> bytes:
    """A PNG of so many chunks."""
    content = _saved(Image.new("RGB", (64, 64)), "PNG")
    own = sum(content.count(name) for name in (b"IHDR", b"IDAT", b"IEND"))
    return content[:33] + png_chunk(b"abCd") * (count - own) + content[33:]


def bmp_runs(width: int, height: int) -> bytes:
    """A BMP with run-length compression in which every line is left out after its first pixel."""
    runs = b"\x01\x05\x00\x00" * height + b"\x00\x01"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(range(256)) * 4 + runs


def webp_pixels(side: int = 7070) -> bytes:
    """A WebP of one colour, side x side pixels: 130 kB for 50 megapixels."""
    return _saved(Image.fromarray(np.full((side, side, 3), 90, np.uint8)), "WEBP", method=0)


def box(name: bytes, *content: bytes) -> bytes:
    """A box of an MP4."""
    payload = b"".join(content)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def with_boxes(content: bytes, parent: bytes, added: bytes) -> bytes:
    """An MP4 with more boxes at the start of its first `parent`, all boxes around it grown to match.

    The media data has to lie before the index, as encoders write it unless told otherwise.
    """
    path: list[int] = []
    at, end = 0, len(content)
    grown = bytearray(content)
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", content, at)
        if name == parent:
            path.append(at)
            break
        if parent in content[at : at + size] and name != b"mdat":
            path.append(at)
            at, end = at + 8, at + size
        else:
            at += size
    for start in path:
        struct.pack_into(">I", grown, start, struct.unpack_from(">I", content, start)[0] + len(added))
    return bytes(grown[: path[-1] + 8]) + added + bytes(grown[path[-1] + 8 :])


def mp4_edits(content: bytes, count: int) -> bytes:
    """The MP4 with an edit list of so many entries; each shows 40 ms from the start."""
    entry = struct.pack(">IiI", 40, 0, 1 << 16)
    edits = box(b"edts", box(b"elst", struct.pack(">II", 0, count), entry * count))
    plain = content.replace(b"edts", b"free", 1).replace(b"elst", b"free", 1)
    return with_boxes(plain, b"trak", edits)


def mp4_samples(content: bytes, count: int) -> bytes:
    """The MP4 whose first track claims so many samples, all of one size; no byte is added."""
    forged = bytearray(content)
    sizes, chunks, times = (forged.index(name) + 4 for name in (b"stsz", b"stsc", b"stts"))
    struct.pack_into(">II", forged, sizes + 4, 1, count)  # every sample has one byte
    struct.pack_into(">I", forged, chunks + 12, count)  # all in the first chunk
    struct.pack_into(">I", forged, times + 8, count)
    return bytes(forged)


def mp4_fragment(count: int) -> bytes:
    """A fragment (`moof`) for track 1 that claims so many samples of one size."""
    header = box(b"tfhd", struct.pack(">IIII", 0x18, 1, 512, 1))  # duration and size of every sample
    run = box(b"trun", struct.pack(">II", 0, count))
    return box(b"moof", box(b"mfhd", bytes(4), struct.pack(">I", 1)), box(b"traf", header, run))


def one_keyframe(width: int, height: int, frames: int, kind: str = "webm", codec: str = "libvpx") -> bytes:
    """A clip of a keyframe and so many frames less one that change nothing: all are decoded to get at the last."""
    options = {"deadline": "realtime"} if codec == "libvpx" else {}
    start = encode_video([np.zeros((height, width, 3), np.uint8)] * 2, kind, codec, fps=60, options=options)
    file = io.BytesIO()
    with av.open(io.BytesIO(start)) as source, av.open(file, "w", format=kind) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        key, other = (packet for packet in source.demux(stream) if packet.size)
        for number in range(frames):
            packet = av.Packet(bytes(key if number == 0 else other))
            packet.pts = packet.dts = number * (other.dts - key.dts)
            packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, number == 0, copy
            target.mux(packet)
    return file.getvalue()


def element(name: bytes, *content: bytes) -> bytes:
    """An element of a Matroska file, its length in eight bytes."""
    payload = b"".join(content)
    return name + (1 << 56 | len(payload)).to_bytes(8) + payload


CLUSTER = b"\x1f\x43\xb6\x75"
TAGS, TAG = b"\x12\x54\xc3\x67", b"\x73\x73"
MATROSKA = {
    "cues": (b"\x1c\x53\xbb\x6b", b"\xbb\x80"),
    "tags": (TAGS, TAG + b"\x8d\x67\xc8\x8a\x45\xa3\x81a\x44\x87\x82bc" + bytes(1)),
    "chapters": (b"\x10\x43\xa7\x70", b"\x45\xb9\x80"),
    "attachments": (b"\x19\x41\xa4\x69", b"\x61\xa7\x88\x46\x6e\x81a\x46\x60\x81b"),
}
"""What a Matroska file may hold beside its frames: the name of the whole, and one piece of its content."""


def matroska_with(content: bytes, added: bytes) -> bytes:
    """The Matroska file with more elements in front of its first cluster; its segment says no length any more."""
    start, cluster = content.index(b"\x18\x53\x80\x67") + 4, content.index(CLUSTER)
    length = 9 - content[start].bit_length()
    return content[:start] + b"\x01" + b"\xff" * 7 + content[start + length : cluster] + added + content[cluster:]


def matroska_seek(content: bytes, target: int) -> bytes:
    """The Matroska file with one more table of contents, which leads to this place of the file that comes out."""
    first = content.index(b"\x18\x53\x80\x67") + 4 + 8
    return matroska_with(content, seek_head(target - first))


def seek_head(position: int) -> bytes:
    """A table of contents that leads to this position in the segment; it has 50 bytes."""
    seek = element(b"\x4d\xbb", b"\x53\xab\x84" + TAGS, b"\x53\xac\x88" + position.to_bytes(8))
    return element(b"\x11\x4d\x9b\x74", seek, b"\xec\x80" * 5 + b"\xec\x81\0")


IMAGES: dict[str, Callable[[], bytes]] = {
    "scans-6900-19MB.jpg": lambda: jpeg_scans(6900, 6900, 252_972),
    "scans-3000-500kB.jpg": lambda: jpeg_scans(3000, 3000, 19_408),
    "scans-3000-100kB.jpg": lambda: jpeg_scans_of_bytes(3000, 120_000),
    "scans-1000-20kB.jpg": lambda: jpeg_scans_of_bytes(1000, 20_000),
    "segments-20MB.jpg": lambda: jpeg_segments(5_000_000),
    "records-20MB.jpg": lambda: jpeg_records(1_700_000),
    "padding-20MB.jpg": lambda: jpeg_padding(20_000_000),
    "chunks-19MB.png": lambda: png_chunks(1_600_000),
    "runs-7000.bmp": lambda: bmp_runs(7000, 7000),
}
"""Pictures that are refused before they are decoded, by the name of their file."""


def main() -> None:
    """Write all bombs into a folder."""
    from support.clips import person_clip  # encodes a clip, which pictures do not need

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    clip = person_clip()
    files = IMAGES | {
        "pixels-7070.webp": webp_pixels,
        "edits-12MB.mp4": lambda: mp4_edits(clip, 1_000_000),
        "edits-36MB.mp4": lambda: mp4_edits(clip, 3_000_000),
        "samples-60M.mp4": lambda: mp4_samples(clip, 60_000_000),
        "fragment-60M.mp4": lambda: clip + mp4_fragment(60_000_000),
        **{
            f"{name}-5MB.webm": lambda whole=whole, piece=piece: matroska_with(
                one_keyframe(320, 240, 60), element(whole, piece * (5_000_000 // len(piece)))
            )
            for name, (whole, piece) in MATROSKA.items()
        },
        "one-keyframe-4k.webm": lambda: one_keyframe(3840, 2160, 1_800),
    }
    for name, make in files.items():
        (folder / name).write_bytes(make())


if __name__ == "__main__":
    main()
