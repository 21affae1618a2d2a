import itertools
import math

import pytest

from liveness_core.types import Box, DetectedFace, Quality
from liveness_service.results import FaceResult, Verdict
from liveness_service.scoring.verdict import combine, refusal_of_count, verdict_of_score
from liveness_service.submission import FacePolicy

FACE = DetectedFace(Box(0, 0, 10, 10), ((2, 3), (8, 3), (5, 5), (3, 8), (7, 8)), 1.0)
QUALITY = Quality(100, 1, 0.5, 0, 0, 0, 0)


def live(score=0.9):
    return FaceResult(FACE, QUALITY, Verdict.LIVE, score=score)


def spoof(score=0.1):
    return FaceResult(FACE, QUALITY, Verdict.SPOOF, score=score)


def refused(*reasons):
    return FaceResult(FACE, QUALITY, Verdict.UNDETERMINED, reasons)


@pytest.mark.parametrize(
    ("score", "threshold", "verdict"),
    [
        (0.5, 0.5, Verdict.LIVE),
        (math.nextafter(0.5, 0), 0.5, Verdict.SPOOF),
        (1.0, 1.0, Verdict.LIVE),
        (0.0, 0.5, Verdict.SPOOF),
        (math.nan, 0.5, Verdict.SPOOF),
        (math.nan, 0.0, Verdict.SPOOF),
    ],
)
def test_live_begins_at_the_threshold_and_nan_is_never_live(score, threshold, verdict):
    assert verdict_of_score(score, threshold) is verdict


@pytest.mark.parametrize(
    ("count", "policy", "refusal"),
    [
        *((0, policy, "no_face") for policy in FacePolicy),
        *((1, policy, None) for policy in FacePolicy),
        (2, FacePolicy.SINGLE, "multiple_faces"),
        (2, FacePolicy.LARGEST, None),
        (2, FacePolicy.ALL, None),
        (3, FacePolicy.ALL, None),
        (4, FacePolicy.ALL, "too_many_faces"),
        (4, FacePolicy.LARGEST, None),
        (4, FacePolicy.SINGLE, "multiple_faces"),
    ],
)
def test_how_many_faces_are_scored(count, policy, refusal):
    assert refusal_of_count(count, policy, max_faces=3) == refusal


@pytest.mark.parametrize(
    ("faces", "verdict", "reasons", "score"),
    [
        ([live()], Verdict.LIVE, (), 0.9),
        ([spoof()], Verdict.SPOOF, (), 0.1),
        ([live(0.9), live(0.7), live(0.8)], Verdict.LIVE, (), 0.7),
        ([live(0.9), spoof(0.2)], Verdict.SPOOF, (), 0.2),
        ([spoof(0.3), spoof(0.2), live(0.9)], Verdict.SPOOF, (), 0.2),
        ([refused("too_dark")], Verdict.UNDETERMINED, ("too_dark",), None),
        ([live(), refused("too_dark")], Verdict.UNDETERMINED, ("too_dark",), None),
        ([spoof(), refused("too_dark")], Verdict.SPOOF, (), 0.1),
        (
            [refused("face_too_small", "too_dark"), refused("too_dark", "too_blurry")],
            Verdict.UNDETERMINED,
            ("face_too_small", "too_dark", "too_blurry"),
            None,
        ),
        ([], Verdict.UNDETERMINED, (), None),
    ],
)
def test_the_verdict_on_a_picture(faces, verdict, reasons, score):
    assert combine(None, faces) == (verdict, reasons, score)


@pytest.mark.parametrize("faces", [[], [live()], [live(), spoof()], [refused("too_dark")]])
def test_a_refusal_of_the_picture_wins(faces):
    assert combine("multiple_faces", faces) == (Verdict.UNDETERMINED, ("multiple_faces",), None)


def test_never_live_unless_every_face_is():
    kinds = [live(), spoof(), refused("too_dark")]
    for count in range(4):
        for faces in itertools.product(kinds, repeat=count):
            expected = count > 0 and all(face.verdict is Verdict.LIVE for face in faces)
            assert (combine(None, faces)[0] is Verdict.LIVE) is expected
            assert combine("no_face", faces)[0] is Verdict.UNDETERMINED
