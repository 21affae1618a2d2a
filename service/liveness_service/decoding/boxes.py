"""Reads the boxes of HEIF, AVIF and MP4 files: what a file is, and what its main picture is made of.

All these kinds share one container (ISO/IEC 14496-12). The first brand alone does not tell them apart: a phone's photo
may begin with `mif1`, an animation with `avif`, and a video may list the brand of a photo.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_BOXES = 20_000
"""Most boxes that are looked at, of one level or of a list of properties."""
_STILL_BRANDS = frozenset((b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf", b"MiHB", b"MiHE"))
_SEQUENCE_BRANDS = frozenset((b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis", b"MA1A", b"MA1B"))


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What the boxes at the top of a file say it is."""

    brands: frozenset[bytes]
    """The main brand and all compatible ones."""
    major: bytes
    """The main brand."""
    has_item: bool
    """Whether it describes a still picture (`meta`)."""
    has_tracks: bool
    """Whether it describes tracks (`moov` or fragments), as videos and animations do."""
    item_type: bytes
    """Coding of the main picture, such as `hvc1`, `av01` or `grid`; empty where there is none."""
    codec: bytes
    """The same, where the main picture is put together of others: their coding."""

    @property
    def is_still(self) -> bool:
        """Whether it is a single picture."""
        if self.has_tracks or not self.brands & (_STILL_BRANDS | _SEQUENCE_BRANDS):
            return False
        return self.has_item or self.major in _STILL_BRANDS  # the rest may have been cut off

    @property
    def is_sequence(self) -> bool:
        """Whether it is an animation or a burst: several pictures that are no video of a camera."""
        return self.has_tracks and bool(self.brands & _SEQUENCE_BRANDS or self.major in _STILL_BRANDS)

    @property
    def is_avif(self) -> bool:
        """Whether the pictures are coded as AV1; the coding counts, and the brands where it is not told."""
        if self.codec in (b"av01", b"hvc1"):
            return self.codec == b"av01"
        return bool(self.brands & _AVIF_BRANDS)


def media_file(content: bytes) -> MediaFile | None:
    """What a file with this content is; None where it does not begin like one of these kinds."""
    brands: set[bytes] = set()
    major = b""
    has_item = has_tracks = False
    item_type = codec = b""
    for name, start, end in _boxes(content, 0, len(content)):
        if name == b"ftyp" and not brands:
            major = content[start : start + 4]
            listed = content[start + 8 : min(end, start + 1024)]
            brands = {major, *(listed[at : at + 4] for at in range(0, len(listed) - 3, 4))}
        elif name == b"meta" and not has_item:
            has_item = True
            item_type, codec = _item_types(content, start + 4, end)
        elif name in (b"moov", b"moof"):
            has_tracks = True
    if not brands:
        return None
    return MediaFile(frozenset(brands), major, has_item, has_tracks, item_type, codec)


@dataclass(frozen=True, slots=True)
class CodePoints:
    """How the numbers of a picture stand for colours, by ITU-T H.273."""

    primaries: int
    transfer: int


def code_points(content: bytes) -> CodePoints | None:
    """The code points of the main picture (`colr` of type `nclx`); None where there are none."""
    meta = next(((start + 4, end) for name, start, end in _boxes(content, 0, len(content)) if name == b"meta"), None)
    if meta is None:
        return None
    primary, properties, owned = None, [], set()
    for name, start, end in _boxes(content, *meta):
        if name == b"pitm":
            primary = _number(content, start + 4, 4 if content[start : start + 1] > b"\0" else 2)
        elif name == b"iprp":
            for inner, inner_start, inner_end in _boxes(content, start, end):
                if inner == b"ipco":
                    properties = list(_boxes(content, inner_start, inner_end))
                elif inner == b"ipma":
                    owned |= {(item, index) for item, index in _associations(content, inner_start, inner_end)}
    for index, (name, start, _) in enumerate(properties, 1):
        if name == b"colr" and (primary, index) in owned and content[start : start + 4] == b"nclx":
            return CodePoints(_number(content, start + 4, 2), _number(content, start + 6, 2))
    return None


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box between two places; it stops at what is no box."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", content, start)
        head = 8
        if length == 1 and start + 16 <= end:
            length, head = _number(content, start + 8, 8), 16
        stop = end if length == 0 else min(start + length, end)
        if length and length < head:
            return
        yield name, start + head, stop
        start = stop


def _item_types(content: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Coding of the main picture, and of what it is put together of."""
    primary = None
    types: dict[int, bytes] = {}
    for name, begin, stop in _boxes(content, start, end):
        if name == b"pitm":
            primary = _number(content, begin + 4, 4 if content[begin : begin + 1] > b"\0" else 2)
        elif name == b"iinf":
            first = begin + (6 if content[begin : begin + 1] == b"\0" else 8)
            for entry, at, _ in _boxes(content, first, stop):
                version = content[at] if at < len(content) else 0
                if entry == b"infe" and version >= 2:
                    wide = 4 if version > 2 else 2
                    kind = at + 4 + wide + 2
                    types[_number(content, at + 4, wide)] = content[kind : kind + 4]
    own = types.get(primary, b"") if primary is not None else b""
    if own in (b"grid", b"iovl", b"iden", b"tmap"):
        return own, next((kind for kind in types.values() if kind in (b"av01", b"hvc1")), own)
    return own, own


def _associations(content: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Items and the numbers of their properties."""
    version, flags = content[start], content[start + 3]
    count, at = _number(content, start + 4, 4), start + 8
    wide = 2 if version < 1 else 4
    for _ in range(min(count, _MAX_BOXES)):
        if at + wide >= end:
            return
        item, own = _number(content, at, wide), content[at + wide]
        at += wide + 1
        for _ in range(own):
            size = 2 if flags & 1 else 1
            yield item, _number(content, at, size) & (0x7FFF if size == 2 else 0x7F)
            at += size


def _number(content: bytes, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "big")
