"""Clips from public bug reports, and recordings of people who move; both lie outside of the repository."""

from functools import cache
from pathlib import Path

import pytest

from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import create_detector
from liveness_core.video import VideoLimits
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.submission import FacePolicy

SHARED = Path(__file__).resolve().parents[4] / "shared"
CASES, CLIPS = SHARED / "cases", SHARED / "clips"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie outside of the repository, in ../shared")


def again(name):
    """A case that asks once more what a quicker one asks."""
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def prepared():
    manifest = load_bundle(default_bundle_path()).manifest
    finder = Finder.of(manifest, create_detector(manifest.detector))
    preparation = ClipPreparation(finder, manifest.temporal.clip, VideoLimits(max_streams=8), 0.5)

    @cache
    def of(path):
        return preparation.prepare(path.read_bytes(), FacePolicy.SINGLE, lambda: False).facts

    return of


@pytest.mark.parametrize("name", ["gone_vfr.mkv", again("gone_cfr.mkv")])
def test_a_face_that_is_gone_after_a_second_is_gone_at_any_frame_rate(prepared, name):
    assert prepared(CASES / "16-variable-frame-rate" / name).refusals == ("too_few_frames", "no_face")


@pytest.mark.parametrize("softness", ["sharp", again("a_little_soft")])
@pytest.mark.parametrize("kind", ["pq", again("hlg")])
def test_hdr_is_measured_as_sdr_is(prepared, kind, softness):
    folder = CASES / "10-hdr-not-tone-mapped"
    sdr, hdr = (prepared(folder / f"{each}_{softness}.mp4") for each in ("sdr", kind))
    assert sdr.refusals == hdr.refusals == ("static_clip",)  # all of them are a photo that is panned
    for one, same in zip(sdr.usable, hdr.usable, strict=True):
        assert same.quality.brightness == pytest.approx(one.quality.brightness, abs=0.04)
        assert same.quality.sharpness == pytest.approx(one.quality.sharpness, abs=0.1)


@pytest.mark.slow  # tests/e2e/test_phones.py asks it of the service
def test_tracks_of_data_are_no_reason_to_refuse_a_clip(prepared):
    assert len(prepared(CASES / "11-nine-streams/streams_9.mov").usable) == 8


@pytest.mark.parametrize("name", ["turned.webm", again("240_480.webm")])
def test_another_picture_size_and_a_badge_are_neither_a_cut_nor_a_second_face(prepared, name):
    facts = prepared(CASES / "21-size-change-and-badge-as-second-face" / name)
    # A photo that is panned, in VP8 of 500 kbit/s; neither `multiple_faces` nor `face_changed`.
    assert facts.refusals in ((), ("static_clip",), ("too_compressed", "static_clip"))
    assert len(facts.usable) == 8


@pytest.mark.parametrize("name", ["vp8_450.webm", again("vp8_120.webm"), again("vp8_200.webm")])
def test_a_recording_of_too_few_bits_says_so(prepared, name):
    assert prepared(CASES / "23-low-bitrate-recording" / name).refusals[0] == "too_compressed"


@pytest.mark.parametrize(
    "name", ["auduno_capture4", again("liveportrait_d12"), again("liveportrait_d19"), again("Fellway_me")]
)
def test_people_who_move_or_hold_still_are_not_refused(prepared, name):
    assert prepared(CLIPS / "moving" / f"{name}.mp4").refusals == ()


@pytest.mark.parametrize("name", ["splice_KwaiVGI_d18-d19", again("splice_KwaiVGI_d3-d10")])
def test_a_cut_to_another_person_is_seen_and_its_instants_told(prepared, name):
    facts = prepared(CLIPS / "cut" / f"{name}.mp4")
    assert facts.refusals == ("face_changed",)
    assert [frame.index for frame in facts.frames if frame.reasons] == [89, 90]
