import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import liveness_core
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.detection.yunet_onet import YunetOnetDetector
from support.pictures import astronaut, no_face, two_faces

# Where the astronaut's features are, by eye: eye at the left, eye at the right, nose tip, corners of the mouth.
SEEN = np.array([[205, 102], [247, 104], [225, 128], [203, 140], [246, 142]])


@pytest.fixture(scope="module", params=[pytest.param("mtcnn", marks=pytest.mark.slow), "yunet_onet"])
def detector(request):
    return create_detector(DetectorSpec(name=request.param))


def landmarks(face):
    return np.array(face.landmarks)


def test_astronaut_is_found_where_she_is(detector):
    [astronaut_face] = detector.detect(astronaut())
    assert np.abs(landmarks(astronaut_face) - SEEN).max() < 6
    box = astronaut_face.box
    assert box.x1 == pytest.approx(178, abs=10)
    assert box.x2 == pytest.approx(268, abs=10)
    assert box.y1 == pytest.approx(60, abs=12)
    assert box.y2 == pytest.approx(174, abs=12)
    assert 0.99 < astronaut_face.confidence <= 1
    assert all(box.x1 < x < box.x2 and box.y1 < y < box.y2 for x, y in astronaut_face.landmarks)


def test_face_of_an_obliquely_held_photo_is_found_where_it_is(detector):
    """Such a photo shows its face narrowed; a first search fits no window to it."""
    narrow = cv2.resize(astronaut(), (180, 512), interpolation=cv2.INTER_AREA)
    wall = np.full((600, 400, 3), 200, np.uint8)
    wall[40:552, 80:260] = narrow
    [face] = detector.detect(wall)
    expected = SEEN * [180 / 512, 1] + [80, 40]
    assert np.abs(landmarks(face) - expected).max() < 8
    assert face.box.width / face.box.height < 0.5


def test_landmarks_are_ordered_by_the_pictures_sides(detector):
    [face] = detector.detect(np.ascontiguousarray(astronaut()[:, ::-1]))
    (left_eye, right_eye, nose, left_mouth, right_mouth) = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    mirrored = [(512 - x, y) for x, y in SEEN[[1, 0, 2, 4, 3]]]
    assert np.abs(landmarks(face) - mirrored).max() < 8


def test_two_faces_are_two_and_the_larger_comes_first(detector):
    faces = detector.detect(two_faces())
    assert len(faces) == 2
    assert faces[0].box.area >= faces[1].box.area
    assert sorted(face.box.centre[0] // 512 for face in faces) == [0, 1]

    small = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    picture = np.zeros((512, 768, 3), np.uint8)
    picture[:256, :256], picture[:, 256:] = small, astronaut()
    large, little = detector.detect(picture)
    assert large.box.centre[0] > 256 > little.box.centre[0]


@pytest.mark.parametrize(
    "picture",
    [
        no_face(),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
        np.repeat(np.random.default_rng(1).integers(0, 256, (240, 320, 1), dtype=np.uint8), 3, axis=2),
        np.zeros((240, 320, 3), np.uint8),
        np.full((240, 320, 3), 255, np.uint8),
    ],
    ids=["coffee", "noise", "grey noise", "black", "white"],
)
def test_no_face_is_found_where_none_is(detector, picture):
    assert detector.detect(picture) == []


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (5, 400), (400, 5), (11, 11), (12, 12), (24, 24), (1, 3000), (30, 1500)]
)
def test_tiny_pictures_hold_no_face(detector, shape):
    assert detector.detect(np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


def test_coordinates_of_a_large_picture_are_its_own(detector):
    large = cv2.resize(astronaut(), (2304, 2304), interpolation=cv2.INTER_LINEAR)
    [face] = detector.detect(large)
    assert np.abs(landmarks(face) / 4.5 - SEEN).max() < 6
    assert face.box.width / 4.5 == pytest.approx(90, abs=12)


@pytest.mark.parametrize(
    "side", [180, 400, 930, *(pytest.param(side, marks=pytest.mark.slow) for side in (220, 270, 330, 620, 760))]
)
def test_face_of_any_size_is_found(detector, side):
    scale = side / 512  # faces of 32 to 164 pixels
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    [face] = detector.detect(cv2.resize(astronaut(), (side, side), interpolation=how))
    assert np.abs(landmarks(face) / scale - SEEN).max() < 8


def test_coordinates_are_those_of_the_picture_that_holds_the_face(detector):
    [astronaut_face] = detector.detect(astronaut())
    picture = np.zeros((700, 640, 3), np.uint8)
    picture[150:662, 101:613] = astronaut()
    [face] = detector.detect(picture)
    moved = landmarks(face) - landmarks(astronaut_face)
    assert np.abs(moved - [101, 150]).max() < 4


def test_face_that_the_picture_cuts_off_is_still_found(detector):
    [face] = detector.detect(np.ascontiguousarray(astronaut()[70:, 190:]))  # without her forehead and ear
    assert face.box.y1 < 5
    assert np.abs(landmarks(face) - (SEEN - [190, 70])).max() < 12


def test_grey_picture_of_a_face_is_a_face(detector):
    grey = cv2.cvtColor(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    [face] = detector.detect(grey)
    assert np.abs(landmarks(face) - SEEN).max() < 6


@pytest.mark.parametrize("own", [pytest.param(MtcnnDetector, marks=pytest.mark.slow), YunetOnetDetector])
def test_least_confidence_is_held(own):
    blurred = cv2.GaussianBlur(astronaut(), (0, 0), 7)
    confidences = [face.confidence for face in own(min_confidence=0.3).detect(blurred)]
    assert confidences
    limit = max(confidences) + (1 - max(confidences)) / 2
    assert own(min_confidence=limit).detect(blurred) == []


def test_threads_get_what_one_thread_gets(detector):
    whole = [astronaut(), two_faces(), no_face(), astronaut()[:300, :400]]
    pictures = [np.ascontiguousarray(picture[::2, ::2]) for picture in whole] * 2
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector.detect, pictures))
    alone = [detector.detect(picture) for picture in pictures[:4]]
    assert [len(faces) for faces in alone] == [1, 2, 0, 1]
    assert together == alone * 2


WEIGHTS = {
    "mtcnn": ["mtcnn_weights/pnet.onnx", "mtcnn_weights/rnet.onnx", "mtcnn_weights/onet.onnx"],
    "yunet_onet": ["yunet_weights/yunet_rewritten.onnx", "mtcnn_weights/onet_rewritten.onnx"],
}
OWN = [(detector, name) for detector, names in WEIGHTS.items() for name in names]
REFUSALS = """
import json, sys
from pathlib import Path
import liveness_core
from liveness_core.detection import DetectorSpec, DetectorUnavailableError, create_detector

def refusal(detector):
    try:
        create_detector(DetectorSpec(name=detector))
    except DetectorUnavailableError as error:
        return str(error)

said = {}
for detector, name in json.loads(sys.argv[1]):
    file = Path(liveness_core.__file__).parent / "detection" / name
    content = file.read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)
    said[f"{detector}: changed {name}"] = refusal(detector)
    file.unlink()
    said[f"{detector}: missing {name}"] = refusal(detector)
    file.write_bytes(content)
    said[f"{detector}: whole"] = refusal(detector)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What the detector says when a weight file is damaged. Only a copy of the package is damaged."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(Path(liveness_core.__file__).parent, folder / "liveness_core")
    command = [sys.executable, "-c", REFUSALS, json.dumps(OWN)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(shown.stdout)


@pytest.mark.parametrize(("detector", "name"), OWN)
@pytest.mark.parametrize(("fault", "said"), [("changed", "not the file that was released"), ("missing", "is missing")])
def test_weights_that_are_not_the_released_ones_are_refused(refusals, detector, name, fault, said):
    assert refusals[f"{detector}: whole"] is None
    message = refusals[f"{detector}: {fault} {name}"]
    assert message.startswith(f"{detector}: {Path(name).name}")
    assert said in message
    assert "reinstall" in message
