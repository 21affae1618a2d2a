"""How strongly a clip may be compressed depends on its codec: whether it smooths the edges of its blocks."""

import numpy as np
import pytest

from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import create_detector
from liveness_core.video import VideoLimits
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.submission import FacePolicy
from support.pictures import astronaut
from support.videos import encode_video


@pytest.fixture(scope="module")
def reasons():
    manifest = load_bundle(default_bundle_path()).manifest
    preparation = ClipPreparation(
        Finder.of(manifest, create_detector(manifest.detector)), manifest.temporal.clip, VideoLimits(), 0.5
    )
    # A photo that is moved by whole blocks, so a still as well; here only whether its losses are named matters.
    frames = [np.roll(astronaut(), (16 * (n % 2), 16 * (n % 3)), (0, 1)) for n in range(12)]

    def of(kind, codec, options):
        content = encode_video(frames, kind, codec, fps=12, options=options)
        return preparation.prepare(content, FacePolicy.SINGLE, lambda: False).facts.refusals

    return of


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "worst"), [("mjpeg", "31"), ("mpeg4", "31")])
def test_what_web_cameras_and_old_phones_write_at_good_quality_is_not_too_compressed(reasons, codec, worst):
    assert "too_compressed" not in reasons("avi", codec, {"qmin": "8", "qmax": "8"})
    assert "too_compressed" in reasons("avi", codec, {"qmin": worst, "qmax": worst})


def test_a_codec_that_smooths_its_blocks_is_too_compressed_sooner(reasons):
    assert "too_compressed" not in reasons("mp4", "libx264", {"crf": "23"})
    assert "too_compressed" in reasons("mp4", "libx264", {"crf": "51"})
