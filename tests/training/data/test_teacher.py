"""A teacher's marks; the networks that it was made for are in ../shared, so that part skips without them."""

import cv2
import numpy as np
import pytest

from liveness_training.data.teacher import Teacher
from liveness_training.errors import TrainingError
from support.networks import teacher_network
from support.pictures import SHARED, astronaut

PEERS = SHARED / "peers"


def test_mark_is_the_log_odds_of_the_second_class_from_blue_green_red(tmp_path):
    file = teacher_network(tmp_path / "t.onnx", np.eye(3) / 50)
    crop = np.full((16, 16, 3), (10, 120, 40), np.uint8)  # red, green, blue
    blue, green, red = 40 / 50, 120 / 50, 10 / 50
    expected = green - np.log(np.exp(blue) + np.exp(red))
    assert Teacher([file]).log_odds(crop) == pytest.approx(expected, abs=1e-5)


def test_marks_of_several_networks_are_averaged_and_limited(tmp_path):
    sure = teacher_network(tmp_path / "sure.onnx", np.diag([0, 1, 0]))
    doubtful = teacher_network(tmp_path / "doubtful.onnx", np.zeros((3, 3)))
    crop = np.full((16, 16, 3), 100, np.uint8)
    assert Teacher([sure]).log_odds(crop) == 8.0
    assert Teacher([doubtful]).log_odds(crop) == pytest.approx(-np.log(2))
    assert Teacher([sure, doubtful]).log_odds(crop) == 8.0  # of 50: the mean is limited, not its parts


def test_settings_name_the_files_and_their_hashes(tmp_path):
    file = teacher_network(tmp_path / "t.onnx", np.eye(3))
    [entry] = Teacher([file]).summary
    assert entry["name"] == "t.onnx"
    assert len(entry["sha256"]) == 64


def test_what_is_no_teacher_is_refused_by_name(tmp_path):
    with pytest.raises(TrainingError, match=r"missing\.onnx does not exist"):
        Teacher([tmp_path / "missing.onnx"])
    with pytest.raises(TrainingError, match=r"two\.onnx: a teacher takes square pictures .* one output"):
        Teacher([teacher_network(tmp_path / "two.onnx", np.eye(3), outputs=2)])


@pytest.mark.skipif(not PEERS.is_dir(), reason="the reference networks of ../shared/peers are not here")
def test_reference_tells_a_face_from_its_print():
    teacher = Teacher(sorted(PEERS.glob("silent_face_*.onnx")))
    face = astronaut()[0:300, 60:360]
    print_ = cv2.GaussianBlur(face, (0, 0), 2)
    paper = np.full((300, 300, 3), 235, np.uint8)
    paper[50:250, 50:250] = cv2.resize(print_, (200, 200), interpolation=cv2.INTER_AREA)
    assert teacher.log_odds(face) > teacher.log_odds(paper)
