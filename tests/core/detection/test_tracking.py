import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from liveness_core.alignment import face_size
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_core.types import Box, DetectedFace
from support.clips import person, two_people


class Squares:
    """A detector that takes white squares for faces and notes which searches it was asked for."""

    name = "squares"

    def __init__(self):
        self.searched = []

    def detect(self, picture, *, least_share=0.0):
        height, width = picture.shape[:2]
        self.searched.append((width, height, least_share))
        count, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 127).astype(np.uint8))
        faces = [face(x, y, side) for x, y, side, tall, _ in stats[1:count].tolist() if tall > 3]
        return sorted(faces, key=lambda found: -found.box.area)


def face(x, y, side):
    points = tuple((x + side * right, y + side * down) for right, down in [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6)])
    mouth = ((x + 0.3 * side, y + 0.8 * side), (x + 0.7 * side, y + 0.8 * side))
    return DetectedFace(Box(x, y, x + side, y + side), (*points, *mouth), 0.99)


def picture(*squares, size=(640, 480)):
    """A black picture with white squares, each given as (x, y, side)."""
    drawn = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, side in squares:
        drawn[y : y + side, x : x + side] = 255
    return drawn


class Watched:
    """A detector that notes how it is asked, to tell a search of the whole frame from one of a window."""

    def __init__(self, detector):
        self.name = detector.name
        self._detector = detector
        self._shares = []

    def detect(self, picture, *, least_share=0.0):
        self._shares.append(least_share)
        return self._detector.detect(picture, least_share=least_share)

    def searched_whole(self):
        """Whether a whole frame was searched since this was last asked."""
        whole = 0.0 in self._shares
        self._shares.clear()
        return whole


@pytest.fixture
def squares():
    return Squares()


@pytest.fixture(scope="module", params=[pytest.param("mtcnn", marks=pytest.mark.slow), "yunet_onet"])
def own(request):
    return create_detector(DetectorSpec(name=request.param))


@pytest.fixture
def watched(own):
    return Watched(own)


def test_the_first_frame_is_searched_whole_and_measured_as_the_next_ones(squares):
    faces = FaceTracker(squares).find(picture((300, 200, 80)), 0)
    assert faces == (face(300, 200, 80),)
    assert [size[:2] for size in squares.searched] == [(640, 480), (240, 240)]


def test_the_next_one_only_where_the_face_was(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((300, 200, 80)), 0)
    squares.searched.clear()
    assert tracker.find(picture((310, 190, 80), (10, 10, 90)), 10) == (face(310, 190, 80),)
    [(width, height, least_share)] = squares.searched
    assert (width, height) == (240, 240)
    assert 0 < least_share < 1 / 3


def test_a_large_face_is_looked_for_in_a_reduced_window(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((400, 300, 400), size=(1920, 1080)), 0)
    squares.searched.clear()
    [found] = tracker.find(picture((420, 300, 400), size=(1920, 1080)), 1)
    [(width, height, _)] = squares.searched
    assert max(width, height) == 240
    for side in ("x1", "y1", "x2", "y2"):
        assert getattr(found.box, side) == pytest.approx(getattr(face(420, 300, 400).box, side), abs=6)


def test_where_it_is_not_found_the_whole_frame_is_searched(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((20, 20, 80)), 0)
    squares.searched.clear()
    assert tracker.find(picture((500, 300, 80)), 5) == (face(500, 300, 80),)
    assert (640, 480) in [size[:2] for size in squares.searched]
    assert FaceTracker(squares).find(picture(), 0) == ()


def test_the_face_of_the_frame_that_is_nearest_in_time_is_followed(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((20, 20, 80)), 0, whole=True)
    tracker.find(picture((500, 300, 80)), 100, whole=True)
    both = picture((20, 20, 80), (500, 300, 80))
    assert tracker.find(both, 90) == (face(500, 300, 80),)
    assert tracker.find(both, 10) == (face(20, 20, 80),)


def test_of_two_faces_in_the_window_the_nearer_one_is_followed(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((300, 200, 80)), 0)
    assert tracker.find(picture((310, 200, 70), (400, 200, 75)), 1) == (face(310, 200, 70),)


def test_a_whole_search_tells_of_all_faces(squares):
    tracker = FaceTracker(squares)
    tracker.find(picture((300, 200, 80)), 0)
    faces = tracker.find(picture((300, 200, 80), (10, 10, 60)), 1, whole=True)
    assert set(faces) == {face(300, 200, 80), face(10, 10, 60)}


def test_a_whole_search_tells_of_other_faces(own):
    tracker = FaceTracker(own)
    assert len(tracker.find(two_people(0), 0)) == 2
    assert len(tracker.find(two_people(10), 10)) == 1
    assert len(tracker.find(two_people(20), 20, whole=True)) == 2


def test_a_frame_without_a_face_has_none(watched):
    tracker = FaceTracker(watched)
    tracker.find(person(0), 0)
    watched.searched_whole()
    assert tracker.find(np.full((240, 320, 3), 90, np.uint8), 1) == ()
    assert watched.searched_whole()


def deviations(found, expected):
    """By how much the centre and the size differ, in sizes of the face."""
    size = face_size(expected.box)
    (x, y), (other_x, other_y) = found.box.centre, expected.box.centre
    return np.hypot(x - other_x, y - other_y) / size, abs(face_size(found.box) / size - 1)


def test_followed_faces_are_where_a_whole_search_finds_them(own, watched):
    tracker = FaceTracker(watched)
    for number in range(0, 60, 6):
        shown = person(number, 640, 480)
        followed = tracker.find(shown, number)[0]
        assert watched.searched_whole() == (number == 0)
        shift, growth = deviations(followed, own.detect(shown)[0])
        assert shift < 0.08
        assert growth < 0.12


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_they_are_in_real_recordings(own, watched, pad_data):
    recordings = defaultdict(list)
    with (pad_data / "index.csv").open() as file:
        for row in csv.DictReader(file):
            if row["domain"] == "replay_attack":
                recordings[row["sequence"]].append(row["path"])
    found = []
    for paths in [sorted(recordings[name]) for name in sorted(recordings)[::40]]:
        tracker = FaceTracker(watched)
        for number, path in enumerate(paths):
            shown = cv2.cvtColor(cv2.imread(str(pad_data / path)), cv2.COLOR_BGR2RGB)
            faces = tracker.find(shown, number)
            if not watched.searched_whole() and (whole := own.detect(shown)):
                found.append(deviations(faces[0], whole[0]))
    assert len(found) > 20
    shift, growth = np.percentile(found, 90, axis=0)
    assert shift < 0.06
    assert growth < 0.08
