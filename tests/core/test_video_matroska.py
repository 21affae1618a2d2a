"""What a Matroska or WebM file holds beside its frames is measured before FFmpeg reads it."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from liveness_core.video import VideoLimitError, VideoLimits, VideoReader, VideoUnreadableError
from liveness_core.video.matroska import check_elements
from support import bombs
from support.videos import encode_video, tiny_frames

LIMITS = VideoLimits(30, 1_800, 9_000_000, 8, 100_000, 1_000, 50_000, 8 << 20)
ALLOWED = (8 << 20) // 32


def encoded(kind="matroska", codec="libx264", **options):
    return encode_video(tiny_frames(20), kind, codec, **options)


video = cache(encoded)


def frames(content, **limits):
    return VideoReader(io.BytesIO(content), replace(LIMITS, **limits)).frames


def refused(content, **limits):
    with pytest.raises(VideoLimitError) as raised:
        check_elements(content, replace(LIMITS, **limits))
    with pytest.raises(VideoLimitError):
        frames(content, **limits)
    return raised.value.limit


def filled(kind, size):
    """An element whose content has so many bytes."""
    whole, piece = bombs.MATROSKA[kind]
    return bombs.element(whole, (piece * (size // len(piece) + 1))[:size])


@pytest.mark.parametrize("kind", bombs.MATROSKA)
@pytest.mark.parametrize("codec", [("matroska", "libx264"), ("webm", "libvpx")])
def test_a_bomb_is_refused(kind, codec):
    content = bombs.matroska_with(video(*codec), filled(kind, 5_000_000))
    assert refused(content) == "header bytes"


def test_the_most_bytes_are_read_and_one_more_is_not():
    plain = bombs.matroska_with(video(), b"")
    own = next(size for size in range(1, 4_000) if _passes(plain, max_header_bytes=32 * size))
    room = ALLOWED - own
    assert frames(bombs.matroska_with(video(), filled("tags", room))) == 20
    assert refused(bombs.matroska_with(video(), filled("tags", room + 1))) == "header bytes"
    assert refused(bombs.matroska_with(video(), filled("tags", room // 2) + filled("cues", room))) == "header bytes"


def _passes(content, **limits):
    try:
        check_elements(content, replace(LIMITS, **limits))
    except VideoLimitError:
        return False
    return True


def test_padding_may_be_long():
    assert frames(bombs.matroska_with(video(), bombs.element(b"\xec", bytes(2 * ALLOWED)))) == 20


def test_what_lies_behind_the_frames_counts():
    assert refused(video() + filled("tags", 5_000_000)) == "header bytes"


def test_the_table_of_contents_is_followed_even_into_a_frame():
    block = b"\xa3" + (1 << 56 | 5_000_100).to_bytes(8) + b"\x81\0\0\0" + filled("tags", 5_000_000 - 12) + bytes(96)
    hidden = bombs.matroska_with(video(), bombs.element(bombs.CLUSTER, b"\xe7\x81\0", block))
    assert _passes(hidden)  # it is a frame as long as nothing leads there
    # The new table stands between these elements, so that the place moves by its 50 bytes.
    target = hidden.index(bombs.TAGS, hidden.index(block[:13])) + len(bombs.seek_head(0))
    forged = bombs.matroska_seek(hidden, target)
    assert forged[target : target + 4] == bombs.TAGS
    assert refused(forged) == "header bytes"


def test_a_chain_of_tables_is_followed_to_its_end():
    length = len(bombs.seek_head(0))
    start = bombs.matroska_with(video(), b"").index(bombs.CLUSTER)
    first = video().index(b"\x18\x53\x80\x67") + 4 + 8
    chain = b"".join(bombs.seek_head(start - first + length * number) for number in range(4_000, 0, -1))
    assert _passes(bombs.matroska_with(video(), chain))
    assert refused(bombs.matroska_with(video(), chain + filled("tags", ALLOWED))) == "header bytes"


@pytest.mark.parametrize(
    "damage",
    [
        bombs.element(bombs.CLUSTER, b"\xe7\x81\0", b"\0" * 20),
        bombs.element(bombs.CLUSTER, b"\xe7\x81\0", b"\xa3\x88\x89" + bytes(7)),  # a frame of no track
        bombs.element(bombs.CLUSTER, b"\xe7\x81\0", b"\xa3\x88\x81\0\0\x02" + bytes(4)),  # several frames in a block
        bombs.element(bombs.CLUSTER, b"\xe7\x8a" + bytes(10)),  # a time of ten bytes
        bombs.element(bombs.CLUSTER, b"\xa0\x8c\x9b\x8a" + bytes(10)),
        bombs.element(bombs.CLUSTER, b"\xa3\xff\x81\0\0\0"),  # longer than its cluster
        b"\0\0\0\0",
    ],
)
def test_behind_damage_elements_are_found_by_their_names(damage):
    tags = filled("tags", 5_000_000)
    hidden = bombs.element(
        bombs.CLUSTER, b"\xe7\x81\0", b"\xa3", (1 << 56 | len(tags) + 4).to_bytes(8), b"\x81\0\0\0", tags
    )
    assert _passes(bombs.matroska_with(video(), hidden))
    assert refused(bombs.matroska_with(video(), damage + hidden)) == "header bytes"


def test_the_most_tracks_are_read_and_one_more_is_not():
    content = video("webm", "libvpx", sound=True)
    assert frames(content, max_streams=2) == 20
    assert refused(content, max_streams=1) == "streams"
    many = bombs.element(b"\x16\x54\xae\x6b", b"\xae\x86\xd7\x81\x09\x83\x81\x02" * 7)
    assert refused(bombs.matroska_with(content, many)) == "streams"


def test_the_most_elements_are_read_and_one_more_is_not():
    content = bombs.matroska_with(video(), b"\xec\x80" * 1_000)
    own = next(count for count in range(1_000, 1_300) if _passes(content, max_boxes=count))
    assert frames(content, max_boxes=own) == 20
    assert refused(content, max_boxes=own - 1) == "boxes"
    assert refused(bombs.matroska_with(video(), b"\xec\x80" * 50_000)) == "boxes"


def test_frames_that_are_compressed_once_more_are_refused():
    """FFmpeg would unpack each to 10 MB: bzip2 makes as much of 45 bytes."""
    compression = b"\x6d\x80\x8a\x62\x40\x87\x50\x34\x84\x42\x54\x81\x01"
    tracks = bombs.element(b"\x16\x54\xae\x6b", bombs.element(b"\xae", b"\xd7\x81\x09", compression))
    with pytest.raises(VideoUnreadableError, match="compressed once more"):
        frames(bombs.matroska_with(video(), tracks))


@pytest.mark.parametrize(
    "content",
    [
        video(),
        video("webm", "libvpx", sound=True),
        encoded("matroska", "libx264", container_options={"live": "1"}),
        encoded("webm", "libvpx", container_options={"cluster_size_limit": "200"}),
        encoded("matroska", "libx264", options={"bf": "2"}, container_options={"reserve_index_space": "400000"}),
    ],
    ids=["plain", "sound", "as browsers record", "many clusters", "index in front"],
)
def test_what_is_written_by_cameras_and_browsers_is_read_also_in_part(content):
    assert frames(content) == 20
    for end in np.linspace(len(content) // 2, len(content), 7).astype(int):
        check_elements(content[:end], LIMITS)
