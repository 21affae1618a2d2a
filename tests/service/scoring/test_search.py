from functools import cache

import cv2
import numpy as np
import pytest

from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.scaling import enlarge_face
from liveness_core.types import Box, DetectedFace
from liveness_core.views import View, cut_views
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.scoring.search import search
from support.pictures import astronaut, encoded

LIMITS = ImageLimits(20_000_000)
CROP = View(size=160, margin=2.7)


class OneFace:
    """A detector that sees one face of `size` pixels of the whole picture, and notes which pictures it was shown."""

    name = "one face"

    def __init__(self, size, whole):
        self.size, self.whole, self.shown = size, whole, []

    def detect(self, picture, *, least_share=0.0):
        self.shown.append(picture.shape[1])
        side = self.size * picture.shape[1] / self.whole
        x, y = picture.shape[1] / 2 - side / 2, picture.shape[0] / 2 - side / 2
        points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
        landmarks = tuple((x + side * across, y + side * down) for across, down in points)
        return [DetectedFace(Box(x, y, x + side, y + side), landmarks, 1.0)] if self.size else []


def large(width, height=None):
    return cv2.resize(astronaut(), (width, height or width), interpolation=cv2.INTER_LINEAR)


@cache
def fifteen_megapixels():
    """The content of a file that several tests search."""
    return encoded(large(3840))


@pytest.mark.parametrize(
    ("width", "searched"), [(768, 768), (1535, 1535), (1536, 768), (3071, 1536), (3072, 768), (4000, 1000)]
)
def test_a_picture_is_reduced_while_enough_of_it_is_left_to_search(width, searched):
    detector = OneFace(0, width)
    found = search(encoded(large(width, 300)), LIMITS, detector, [CROP], 1)
    assert detector.shown == [searched]
    assert (found.image.width, found.image.height, found.faces) == (width, 300, [])


@pytest.mark.parametrize(
    ("face", "size", "searched"),
    [
        (512, 96, [960]),  # 128 pixels of a quarter of the picture: sharpness is measured in as many
        (508, 96, [960, 1920]),
        (250, 96, [960, 3840]),
        (570, 192, [960]),  # a crop of 2.7 x 570 / 4 = 385 pixels is twice the encoder's 192
        (568, 192, [960, 1920]),
    ],
)
def test_it_is_decoded_again_where_the_crop_needs_more(face, size, searched):
    detector = OneFace(face, 3840)
    found = search(fifteen_megapixels(), LIMITS, detector, [View(size=size, margin=2.7)], 1)
    assert detector.shown == searched
    assert found.image.factor == 3840 // searched[-1]
    [shown] = found.faces
    assert enlarge_face(shown, found.image.factor).box.width == pytest.approx(face)


def test_of_faces_that_are_not_shown_nothing_is_needed():
    class Two(OneFace):
        def detect(self, picture, *, least_share=0.0):
            [face] = super().detect(picture)
            return [face, enlarge_face(face, 0.2)]

    for most_shown, looks in ((1, 1), (2, 2)):
        detector = Two(600, 3840)
        search(fifteen_megapixels(), LIMITS, detector, [CROP], most_shown)
        assert len(detector.shown) == looks


@pytest.fixture(scope="module")
def scored():
    bundle, detector = load_bundle(default_bundle_path()), create_detector(DetectorSpec())
    views = bundle.manifest.views

    def score(content):
        found = search(content, LIMITS, detector, views, 1)
        crops = cut_views(views, found.image.picture, found.faces[0])
        return found.image.factor, float(bundle.scorer.score([crops])[0].score)

    def score_of_all_pixels(content):
        picture = decode_image(content, LIMITS)
        return float(bundle.scorer.score([cut_views(views, picture, detector.detect(picture)[0])])[0].score)

    return score, score_of_all_pixels


@pytest.mark.slow  # tests/e2e/test_phones.py asks it of the formats that phones write
@pytest.mark.parametrize(("width", "seed"), [(1600, 0), (2400, 1)])
def test_the_same_picture_has_the_same_score_in_every_kind_of_file(scored, width, seed):
    score, score_of_all_pixels = scored
    noise = np.random.default_rng(seed).normal(0, 6, (width, width, 1))
    jpeg = encoded(np.clip(large(width) + noise, 0, 255).astype(np.uint8), quality=90)
    pixels = decode_image(jpeg, LIMITS)
    whole = score_of_all_pixels(jpeg)
    for content in (jpeg, encoded(pixels, "PNG", compress_level=1), encoded(pixels, "BMP")):
        factor, reduced = score(content)
        assert factor == 2
        assert reduced == pytest.approx(whole, abs=0.02)
