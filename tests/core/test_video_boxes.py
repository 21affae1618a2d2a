"""What an MP4's boxes claim is counted before FFmpeg builds an index from it."""

import io
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from liveness_core.video import VideoLimitError, VideoLimits, VideoReader, VideoUnreadableError
from liveness_core.video.mp4 import check_boxes
from support import bombs
from support.clips import person_clip
from support.pictures import SHARED
from support.videos import encode_video, tiny_frames

LIMITS = VideoLimits(
    max_seconds=30,
    max_frames=1_800,
    max_pixels=9_000_000,
    max_streams=8,
    max_samples=100_000,
    max_edits=1_000,
    max_boxes=50_000,
    max_header_bytes=8 << 20,
)


def frames(content, **limits):
    return VideoReader(io.BytesIO(content), replace(LIMITS, **limits)).frames


def refused(content, **limits):
    with pytest.raises(VideoLimitError) as raised:
        frames(content, **limits)
    return raised.value.limit


def fragments(count=20):
    """A video in fragments of one frame, as browsers record it: with one moof and mdat for each."""
    return encode_video(
        tiny_frames(count),
        "mp4",
        "libx264",
        options={"g": "1"},
        container_options={"movflags": "frag_every_frame+empty_moov+default_base_moof"},
    )


@pytest.mark.parametrize("length", [8, 40, 2_000])
def test_a_file_cut_before_its_index_has_no_tracks_to_count(length):
    check_boxes(person_clip()[:length], LIMITS)


def test_the_most_samples_are_read_and_one_more_is_not():
    content = person_clip()
    assert frames(content, max_samples=60) == 60
    assert refused(content, max_samples=59) == "samples"
    assert refused(bombs.mp4_samples(content, 100_000)) == "frames"  # these are too many as well, but were indexed
    assert refused(bombs.mp4_samples(content, 100_001)) == "samples"


def test_sound_counts_too():
    content = encode_video(tiny_frames(50), sound=True)
    assert frames(content) == 50
    assert refused(content, max_samples=60) == "samples"


def test_samples_of_fragments_are_added_up():
    content = fragments()
    assert frames(content, max_samples=20) == 20
    assert refused(content, max_samples=19) == "samples"
    assert refused(content + bombs.mp4_fragment(100_000 - 19)) == "samples"


def test_the_most_edits_are_read_and_one_more_is_not():
    content = encode_video(tiny_frames(4), "mp4", "libx264", options={"bf": "0"})
    assert frames(bombs.mp4_edits(content, 500)) >= 500
    check_boxes(bombs.mp4_edits(content, 1_000), LIMITS)
    assert refused(bombs.mp4_edits(content, 1_001)) == "edits"


def test_edits_that_show_the_same_samples_count_again():
    content = bombs.mp4_edits(person_clip(), 100)  # 60 samples
    check_boxes(content, replace(LIMITS, max_samples=600))
    with pytest.raises(VideoLimitError, match="more than 99 edits"):
        check_boxes(content, replace(LIMITS, max_samples=599))


def test_the_most_tracks_are_read_and_one_more_is_not():
    content = encode_video(tiny_frames(4), sound=True)
    assert frames(content, max_streams=2) == 4
    assert refused(content, max_streams=1) == "streams"


def test_tracks_of_data_count_only_when_they_are_many():
    handler = bombs.box(b"hdlr", bytes(8) + b"meta" + bytes(13))
    data = bombs.box(b"trak", bombs.box(b"mdia", handler))
    with_data = [bombs.box(b"moov", data * count) + bombs.box(b"mdat", b"") for count in (4, 5)]
    check_boxes(with_data[0], replace(LIMITS, max_streams=1))
    with pytest.raises(VideoLimitError, match="streams"):
        check_boxes(with_data[1], replace(LIMITS, max_streams=1))


def test_the_most_boxes_are_read_and_one_more_is_not():
    content = encode_video(tiny_frames(4), "mp4", "libx264")
    own = 4  # ftyp, free, mdat, moov
    assert frames(content + bombs.box(b"free") * (100 - own), max_boxes=100) == 4
    assert refused(content + bombs.box(b"free") * (101 - own), max_boxes=100) == "boxes"
    assert refused(content + bombs.box(b"uuid", bombs.box(b"moof") * 101), max_boxes=100) == "boxes"


def test_the_largest_header_is_read_and_a_byte_more_is_not():
    content = encode_video(tiny_frames(4), "mp4", "libx264")
    added = 8 << 20
    largest = content + bombs.box(b"uuid", bytes(added - 8 - _header_bytes(content)))
    assert frames(largest) == 4
    assert refused(largest + b"\0") == "header bytes"


def _header_bytes(content):
    """Bytes outside of media data and padding, the headers of those two counted."""
    total = at = 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        total += 8 if name in (b"mdat", b"free") else size
        at += size
    return total


def test_uncompressed_sound_has_a_sample_for_each_of_its_own():
    content = encode_video(tiny_frames(50), "mov", "libx264")
    sound = _pcm_track(96_000)
    grown = bombs.with_boxes(content, b"moov", sound)
    assert frames(grown, max_samples=1_600) == 50
    # What claims to be sound and is not is counted sample by sample.
    assert refused(bombs.with_boxes(content, b"moov", sound.replace(b"soun", b"vide")), max_samples=1_600) == "samples"
    assert refused(bombs.with_boxes(content, b"moov", _pcm_track(64 * 1_600 + 1)), max_samples=1_600) == "samples"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sowt", b"mp4a"),
        (b"sowt", b"avc1"),  # by its format FFmpeg takes it for pictures, whatever its handler says
        (struct.pack(">IIII", 0, 1, 96_000, 1), struct.pack(">IIII", 0, 1, 96_000, 2)),
        (struct.pack(">III", 0, 2, 96_000), struct.pack(">III", 0, 65, 96_000)),
    ],
)
def test_sound_that_ffmpeg_does_not_index_by_blocks_is_counted_sample_by_sample(old, new):
    content = encode_video(tiny_frames(50), "mov", "libx264")
    assert _pcm_track(96_000).count(old) == 1
    sound = _pcm_track(96_000).replace(old, new)
    assert refused(bombs.with_boxes(content, b"moov", sound), max_samples=1_600) == "samples"


@pytest.mark.parametrize("kind", [b"stts", b"stsd", b"hdlr"])
def test_sound_with_a_second_table_is_counted_sample_by_sample(kind):
    content = encode_video(tiny_frames(50), "mov", "libx264")
    second = {
        b"stts": bombs.box(b"stts", struct.pack(">IIII", 0, 1, 96_000, 2)),
        b"stsd": bombs.box(b"stsd", bytes(4), struct.pack(">I", 1), bombs.box(b"avc1", bytes(70))),
        b"hdlr": bombs.box(b"hdlr", bytes(8), b"vide", bytes(13)),
    }[kind]
    sound = bombs.with_boxes(bombs.box(b"moov", _pcm_track(96_000)), b"trak", second)[8:]
    assert refused(bombs.with_boxes(content, b"moov", sound), max_samples=1_600) == "samples"


def test_real_uncompressed_sound_is_read():
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        pictures, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=48_000)
        pictures.width = pictures.height = 32
        for number, picture in enumerate(tiny_frames(25)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = number
            container.mux(pictures.encode(frame))
        for number in range(50):
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            wave.sample_rate, wave.pts = 48_000, 960 * number
            container.mux(sound.encode(wave))
        container.mux(pictures.encode())
    # 48,000 samples of sound are about 50 entries.
    assert frames(file.getvalue(), max_samples=1_000) == 25


def _pcm_track(samples):
    handler = bombs.box(b"hdlr", bytes(8), b"soun", bytes(13))
    times = bombs.box(b"stts", struct.pack(">IIII", 0, 1, samples, 1))
    sizes = bombs.box(b"stsz", struct.pack(">III", 0, 2, samples))
    kind = bombs.box(b"stsd", bytes(4), struct.pack(">I", 1), bombs.box(b"sowt", bytes(28)))
    table = bombs.box(b"stbl", kind, times, sizes)
    return bombs.box(b"trak", bombs.box(b"mdia", handler, bombs.box(b"minf", table)))


def test_a_chunk_that_claims_to_hold_millions_of_samples_is_refused():
    content = bytearray(encode_video(tiny_frames(4), "mp4", "libx264", options={"bf": "0"}))
    start = content.index(b"stsc") + 4
    struct.pack_into(">I", content, start + 12, 2**32 - 1)
    assert frames(bytes(content)) >= 1  # only sound is indexed by its chunks
    struct.pack_into(">I", content, content.index(b"stts") + 16, 1)
    assert refused(bytes(content)) == "samples"


@pytest.mark.parametrize("around", [b"udta", b"free", b"stsd", b"\x00\x00\x00\x00"])
def test_a_table_is_found_wherever_it_lies(around):
    edits = bombs.box(around, bombs.box(b"elst", struct.pack(">II", 0, 1_001), bytes(12 * 1_001)))
    assert refused(bombs.with_boxes(person_clip(), b"moov", edits)) == "edits"


def test_what_a_segment_index_may_point_to_is_searched():
    hidden = bombs.box(b"mdat", bombs.mp4_fragment(200_000))
    assert frames(person_clip() + hidden) == 60
    index = bombs.box(b"sidx", bytes(24))
    assert refused(person_clip() + index + hidden) == "samples"


def test_an_index_in_a_free_box_is_searched():
    content = bombs.mp4_samples(person_clip(), 60_000_000)
    at = content.index(b"moov") - 4
    wrapped = content[:at] + bombs.box(b"free", content[at:])
    assert refused(wrapped) == "samples"


def test_a_compressed_index_is_refused():
    with pytest.raises(VideoUnreadableError, match="compressed"):
        frames(bombs.with_boxes(person_clip(), b"moov", bombs.box(b"cmov", bytes(100))))


def test_without_limits_nothing_is_counted():
    content = encode_video(tiny_frames(4), "mp4", "libx264", options={"bf": "0"})
    assert VideoReader(io.BytesIO(bombs.mp4_edits(content, 1_001))).frames >= 1_001


REAL = sorted(SHARED.glob("c*/*/*.m[op][v4]")) + sorted(
    (Path(__file__).resolve().parents[1] / "e2e" / "recordings").glob("*")
)


@pytest.mark.parametrize("file", REAL, ids=lambda file: file.name)
def test_real_clips_are_far_from_the_limits(file):
    limits = {"max_samples": 2_000, "max_edits": 4, "max_boxes": 100, "max_header_bytes": 100_000, "max_streams": 9}
    assert frames(file.read_bytes(), **limits) >= 60


_COST = """
import io, sys, time
from pathlib import Path
from liveness_core.video import VideoLimitError, VideoLimits, VideoReader
def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
content = sys.stdin.buffer.read()
before, start = memory("VmRSS"), time.process_time()
limits = VideoLimits(30, 1_800, 9_000_000, 8, 100_000, 1_000, 50_000, 8 << 20)
try:
    VideoReader(io.BytesIO(content), limits)
except VideoLimitError as error:
    print(error.limit.replace(" ", "_"), time.process_time() - start, memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: bombs.mp4_edits(person_clip(), 600_000), marks=pytest.mark.slow),
        pytest.param(lambda: bombs.mp4_edits(person_clip(), 1_000_000), marks=pytest.mark.slow),
        lambda: bombs.mp4_edits(person_clip(), 3_000_000),
        lambda: bombs.mp4_samples(person_clip(), 60_000_000),
        pytest.param(lambda: person_clip() + bombs.mp4_fragment(60_000_000), marks=pytest.mark.slow),
        pytest.param(lambda: person_clip() + bombs.box(b"moof") * 6_000_000, marks=pytest.mark.slow),
    ],
    ids=["edits 7 MB", "edits 12 MB", "edits 36 MB", "samples", "fragment", "empty fragments"],
)
def test_a_bomb_costs_neither_time_nor_memory(make):
    run = subprocess.run([sys.executable, "-c", _COST], input=make(), capture_output=True, check=True)
    limit, seconds, megabytes = run.stdout.decode().split()
    assert limit in ("edits", "samples", "boxes", "header_bytes")
    assert float(seconds) < 0.2
    assert float(megabytes) < 50
