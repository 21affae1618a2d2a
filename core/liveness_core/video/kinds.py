"""The kinds of video that are read, told by a file's first bytes."""

from typing import Literal

VideoKind = Literal["mov", "matroska", "avi"]
"""Name of FFmpeg's demuxer: `mov` reads MP4, MOV and 3GP, `matroska` reads Matroska and WebM, `avi` reads AVI."""

DEMUXER_NAMES: dict[VideoKind, str] = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm", "avi": "avi"}
"""The same demuxers by their full names, as FFmpeg's whitelist of formats takes them."""

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # with which QuickTime files begin


def video_kind(start: bytes) -> VideoKind | None:
    """The kind of video that starts with these bytes (12 are enough); None for any other content."""
    if start[4:8] in _ATOMS:
        return "mov"
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    return None
