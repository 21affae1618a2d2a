"""Counts what an MP4's or MOV's boxes claim, before FFmpeg builds its index from them.

FFmpeg makes an index entry for every sample that a table claims: 16 kB that claim 60 million samples took 4.4 GB, an
edit list of three million entries 3.5 GB. The limit on frames comes too late for them, since it counts what was read.

The boxes are found by their names and not by walking the tree: FFmpeg reads a table wherever it lies, in a sample
description or in user data as well, and a walk that differs from its own could be led past a box. Only the media data
(`mdat`) and padding are left out, as FFmpeg does. They are searched too if there is a segment index (`sidx`), which may
lead FFmpeg into them.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from liveness_core.video.limits import VideoLimitError, VideoLimits, VideoUnreadableError

# Tables, with the place of their number of rows, counted from behind the box's name.
_ROWS_AT: Final = {
    b"stts": 4,
    b"ctts": 4,
    b"stsc": 4,
    b"stco": 4,
    b"co64": 4,
    b"stss": 4,
    b"stps": 4,
    b"stsd": 4,
    b"dref": 4,
    b"keys": 4,
    b"senc": 4,
    b"stsz": 8,
    b"stz2": 8,
}
_LEFT_OUT: Final = (b"mdat", b"free", b"skip", b"wide", bytes(4))
"""Boxes at the top level whose content FFmpeg passes over: a `free` box may stand in for an index that was erased."""
_PCM_BLOCK: Final = 1_024
"""FFmpeg makes one index entry of so many samples of uncompressed sound, each of which is a sample of its own here."""
_PCM_FORMATS: Final = frozenset((
    *(b"sowt", b"twos", b"raw ", b"NONE", b"lpcm", b"ipcm", b"fpcm"),
    *(b"in24", b"in32", b"fl32", b"fl64", b"ulaw", b"alaw"),
))  # fmt: skip
_PCM_SAMPLES: Final = 64
"""How many times `max_samples` uncompressed sound may have: at 100,000, 33 s at 192 kHz, 2 minutes at 48 kHz."""
_SHOWN_AGAIN: Final = 10
"""How many times `max_samples` the edits times the samples may be; 1,000,000 entries take 24 MB."""
_SHOWN: Final = frozenset((b"vide", b"soun", b"m1a ", b"subp", b"clcp", b"text", b"sbtl", b"subt"))
"""Handlers of tracks that are seen, heard or read; the others hold data, as a phone's motion and location."""
_ALL_TRACKS: Final = 4
"""How many times `max_streams` all tracks may be, those of data included."""
_PCM_BYTES: Final = 64  # of a sample: eight channels of 64 bits


def check_boxes(content: bytes, limits: VideoLimits) -> None:
    """Refuse a file whose boxes claim more than the limits allow.

    Raises:
        VideoLimitError: too many samples, edits, boxes or tracks.
        VideoUnreadableError: the index is compressed, which no camera writes.
    """
    pieces = list(_outside_of_media(content, limits))
    if sum(map(len, pieces)) > limits.max_header_bytes:
        raise VideoLimitError("header bytes", limits.max_header_bytes)
    header = b"".join(pieces)
    if b"sidx" in header:
        header = content
    if b"cmov" in header:
        raise VideoUnreadableError("its index is compressed")
    starts = [at - 4 for at in _places(header, b"trak", limits)]
    shown = sum(_is_shown(header[start:end], limits) for start, end in pairwise([*starts, len(header)]))
    if shown > limits.max_streams or len(starts) > _ALL_TRACKS * limits.max_streams:
        raise VideoLimitError("streams", limits.max_streams)
    edits = sum(_number(header, at + 4) for at in _places(header, b"elst", limits))
    if edits > limits.max_edits:
        raise VideoLimitError("edits", limits.max_edits)
    pieces_of_tracks = pairwise([0, *starts, len(header)])
    samples = sum(_samples_of_track(header[start:end], limits) for start, end in pieces_of_tracks)
    if samples > limits.max_samples:
        raise VideoLimitError("samples", limits.max_samples)
    # FFmpeg's index has an entry for every sample of every edit, and edits may all show the same ones.
    if edits * samples > _SHOWN_AGAIN * limits.max_samples:
        raise VideoLimitError("edits", _SHOWN_AGAIN * limits.max_samples // samples)


def _outside_of_media(content: bytes, limits: VideoLimits) -> Iterator[memoryview]:
    """The pieces of the file between its media data and padding, found as FFmpeg steps from box to box."""
    view = memoryview(content)
    at = start = boxes = 0
    while at + 8 <= len(content):
        boxes += 1
        if boxes > limits.max_boxes:
            raise VideoLimitError("boxes", limits.max_boxes)
        size, name = struct.unpack_from(">I4s", content, at)
        header = 8
        if size == 1 and at + 16 <= len(content):
            size, header = struct.unpack_from(">Q", content, at + 8)[0], 16
        elif size == 0:
            size = len(content) - at
        if size < header:
            break
        if name in _LEFT_OUT and not (name == b"free" and content[at + header + 4 : at + header + 8] == b"moov"):
            yield view[start : at + header]
            start = min(at + size, len(content))
        at += size
    yield view[start:]


def _samples_of_track(piece: bytes, limits: VideoLimits) -> int:
    """The number of index entries that FFmpeg makes for a track, or for a fragment of tracks."""
    rows = {
        name: sum(_number(piece, at + skip) for at in _places(piece, name, limits)) for name, skip in _ROWS_AT.items()
    }
    claimed = rows.pop(b"stsz") + rows.pop(b"stz2")
    if max(rows.values()) > limits.max_samples:
        raise VideoLimitError("samples", limits.max_samples)
    fragments = sum(_number(piece, at + 4) for at in _places(piece, b"trun", limits))
    for name, skip, width in ((b"sidx", 22, 2), (b"sbgp", 8, 4)):
        for at in _places(piece, name, limits):
            # Version 1 of these boxes has longer fields in front: two of 64 bits, and one field more.
            place = at + skip + ((8 if name == b"sidx" else 4) if piece[at : at + 1] == b"\x01" else 0)
            fragments += int.from_bytes(piece[place : place + width], "big")
    _places(piece, b"moof", limits)
    _places(piece, b"traf", limits)
    if _is_even(piece):
        blocks = _largest_chunk(piece) * (rows[b"stco"] + rows[b"co64"]) // _PCM_BLOCK
        if blocks > limits.max_samples:
            raise VideoLimitError("samples", limits.max_samples)
        if _is_sound(piece) and claimed <= _PCM_SAMPLES * limits.max_samples:
            claimed = claimed // _PCM_BLOCK
    return claimed + fragments


def _is_shown(piece: bytes, limits: VideoLimits) -> bool:
    """Whether a track counts as a stream. What it says is checked again once FFmpeg has opened the file."""
    handlers = _places(piece, b"hdlr", limits)
    return not handlers or piece[handlers[0] + 8 : handlers[0] + 12] in _SHOWN


def _is_even(piece: bytes) -> bool:
    """Whether every sample of the track lasts one tick, as those of uncompressed sound do."""
    times = _places(piece, b"stts")
    return any(_number(piece, at + 4) == 1 and _number(piece, at + 12) == 1 for at in times)


def _is_sound(piece: bytes) -> bool:
    """Whether FFmpeg surely indexes a track by blocks, since it holds nothing but uncompressed sound.

    That is so if by its handler and its only format it is sound and nothing else says how long a sample lasts.
    """
    kinds = {piece[at + 8 : at + 12] for at in _places(piece, b"hdlr")}
    sizes = [_number(piece, at + 4) for at in _places(piece, b"stsz")]
    formats = [piece[at + 12 : at + 16] for at in _places(piece, b"stsd") if _number(piece, at + 4) == 1]
    return (
        kinds & {b"soun", b"vide"} == {b"soun"}
        and len(sizes) == 1
        and 1 <= sizes[0] <= _PCM_BYTES
        and len(_places(piece, b"stsd")) == len(formats) == 1
        and formats[0] in _PCM_FORMATS
        and len(_places(piece, b"stts")) == 1
        and _is_even(piece)
    )


def _largest_chunk(piece: bytes) -> int:
    """Most samples of a chunk, by the tables that map samples to chunks."""
    largest = 0
    for at in _places(piece, b"stsc"):
        size = min(12 * _number(piece, at + 4), (len(piece) - at - 8) // 12 * 12)
        if size > 0:
            largest = max(largest, int(np.frombuffer(piece, ">u4", size // 4, at + 8)[1::3].max()))
    return largest


def _places(piece: bytes, name: bytes, limits: VideoLimits | None = None) -> list[int]:
    """Where the content of each box of this name begins.

    Raises:
        VideoLimitError: there are more of them than the limits allow.
    """
    found: list[int] = []
    at = piece.find(name)
    while at >= 0:
        found.append(at + 4)
        if limits is not None and len(found) > limits.max_boxes:
            raise VideoLimitError("boxes", limits.max_boxes)
        at = piece.find(name, at + 4)
    return found


def _number(piece: bytes, at: int) -> int:
    """The 32-bit number at a place; 0 where the file ends before it."""
    return int.from_bytes(piece[at : at + 4], "big") if at + 4 <= len(piece) else 0
