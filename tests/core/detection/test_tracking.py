import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from liveness_core.alignment import face_size
from liveness_core.detection.tracking import FaceTracker
from liveness_core.types import Box, DetectedFace
from support.clips import person, two_people


class Told:
    """A detector that finds these faces, whatever it is shown, and notes what that was."""

    name = "told"

    def __init__(self, *faces):
        self.faces = list(faces)
        self.sizes = []

    def detect(self, picture, *, least_share=0.0):
        self.sizes.append((picture.shape[1], picture.shape[0], least_share))
        return list(self.faces)


def face(x, y, side=80.0):
    points = ((x - 15, y - 10), (x + 15, y - 10), (x, y), (x - 12, y + 15), (x + 12, y + 15))
    return DetectedFace(Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2), points, 0.99)


PICTURE = np.zeros((480, 640, 3), np.uint8)


def test_the_first_frame_is_searched_whole():
    detector = Told(face(300, 200))
    tracked = FaceTracker(detector).find(PICTURE, 0)
    assert (tracked.faces, tracked.followed) == ((face(300, 200),), False)
    assert detector.sizes == [(640, 480, 0.0)]


def test_the_next_one_only_where_the_face_was():
    detector = Told(face(300, 200))
    tracker = FaceTracker(detector)
    tracker.find(PICTURE, 0)
    detector.faces = [face(130, 110)]  # in the window, whose corner is (180, 80)
    tracked = tracker.find(PICTURE, 10)
    assert tracked.followed
    [found] = tracked.faces
    assert found.box == Box(270, 150, 350, 230)
    assert found.landmarks[0] == (295, 180)
    width, height, least_share = detector.sizes[-1]
    assert (width, height) == (240, 240)
    assert least_share > 0


def test_a_large_face_is_looked_for_in_a_reduced_window():
    detector = Told(face(320, 240, side=160))
    tracker = FaceTracker(detector)
    tracker.find(PICTURE, 0)
    detector.faces = [face(120, 120)]  # of the window from (80, 0) on, at half its size
    [found] = tracker.find(PICTURE, 1).faces
    assert detector.sizes[-1][:2] == (240, 240)
    assert found.box == Box(80 + 160, 160, 80 + 320, 320)


def test_where_it_is_not_found_the_whole_frame_is_searched():
    class Moving(Told):
        def detect(self, picture, *, least_share=0.0):
            found = super().detect(picture, least_share=least_share)
            return found if picture.shape[1] == 640 else []

    detector = Moving(face(100, 100))
    tracker = FaceTracker(detector)
    tracker.find(PICTURE, 0)
    detector.faces = [face(500, 300)]
    tracked = tracker.find(PICTURE, 5)
    assert (tracked.faces, tracked.followed) == ((face(500, 300),), False)


def test_the_face_of_the_frame_that_is_nearest_in_time_is_followed():
    detector = Told(face(200, 200))
    tracker = FaceTracker(detector)
    tracker.find(PICTURE, 0, whole=True)
    detector.faces = [face(500, 300)]
    tracker.find(PICTURE, 100, whole=True)
    detector.faces = [face(120, 120)]
    [near_the_end] = tracker.find(PICTURE, 90).faces
    assert near_the_end.box.centre == (500, 300)
    [near_the_start] = tracker.find(PICTURE, 10).faces
    assert near_the_start.box.centre == (200, 200)


def test_a_whole_search_tells_of_other_faces(mtcnn):
    tracker = FaceTracker(mtcnn)
    first = tracker.find(two_people(0), 0)
    assert len(first.faces) == 2
    assert len(tracker.find(two_people(10), 10).faces) == 1
    assert len(tracker.find(two_people(20), 20, whole=True).faces) == 2


def test_a_frame_without_a_face_has_none(mtcnn):
    tracker = FaceTracker(mtcnn)
    tracker.find(person(0), 0)
    nothing = tracker.find(np.full((240, 320, 3), 90, np.uint8), 1)
    assert (nothing.faces, nothing.followed) == ((), False)


def deviations(found, expected):
    """Of the centre, and of the size, in sizes of the face."""
    size = face_size(expected.box)
    (x, y), (other_x, other_y) = found.box.centre, expected.box.centre
    return np.hypot(x - other_x, y - other_y) / size, abs(face_size(found.box) / size - 1)


def test_followed_faces_are_where_a_whole_search_finds_them(mtcnn):
    tracker = FaceTracker(mtcnn)
    for number in range(0, 60, 6):
        picture = person(number, 640, 480)
        tracked = tracker.find(picture, number)
        assert tracked.followed == (number > 0)
        shift, growth = deviations(tracked.faces[0], mtcnn.detect(picture)[0])
        assert shift < 0.08
        assert growth < 0.12


@pytest.mark.timeout(120)
def test_so_they_are_in_real_recordings(mtcnn, pad_data):
    recordings = defaultdict(list)
    with (pad_data / "index.csv").open() as file:
        for row in csv.DictReader(file):
            if row["domain"] == "replay_attack":
                recordings[row["sequence"]].append(row["path"])
    found = []
    for paths in [sorted(recordings[name]) for name in sorted(recordings)[::40]]:
        tracker = FaceTracker(mtcnn)
        for number, path in enumerate(paths):
            picture = cv2.cvtColor(cv2.imread(str(pad_data / path)), cv2.COLOR_BGR2RGB)
            tracked, whole = tracker.find(picture, number), mtcnn.detect(picture)
            if tracked.followed and whole:
                found.append(deviations(tracked.faces[0], whole[0]))
    assert len(found) > 20
    shift, growth = np.percentile(found, 90, axis=0)
    assert shift < 0.06
    assert growth < 0.08
