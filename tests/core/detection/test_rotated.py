import numpy as np
import pytest
from PIL import Image

from liveness_core.detection.rotated import is_rotated
from liveness_core.detection.scaling import shrink_to
from liveness_core.detection.yunet import YunetDetector
from liveness_core.quality import QualityGates, measure, refusals
from liveness_core.types import Box, DetectedFace
from support.pictures import astronaut


def turned(picture, turns):
    return np.ascontiguousarray(np.rot90(picture, turns))


@pytest.mark.parametrize(
    "rows", [slice(0, 256), *(pytest.param(rows, marks=pytest.mark.slow) for rows in (slice(0, 512), slice(40, 300)))]
)
def test_a_face_that_lies_on_its_side_is_noticed_and_an_upright_one_is_not(mtcnn, rows):
    picture = np.ascontiguousarray(astronaut()[rows, 96:352])
    for turns in range(4):
        for face in mtcnn.detect(turned(picture, turns)):
            assert is_rotated(mtcnn, turned(picture, turns), face) == (turns != 0)


def test_yunet_draws_faces_into_turned_ones_too(detectors_dir):
    yunet = YunetDetector(detectors_dir / "face_detection_yunet_2026may.onnx")
    for turns in range(4):
        for face in yunet.detect(turned(astronaut(), turns)):
            assert is_rotated(yunet, turned(astronaut(), turns), face) == (turns != 0)


def test_the_fault_that_this_is_for_is_there(mtcnn):
    [face] = mtcnn.detect(turned(astronaut(), 3))
    assert face.confidence > 0.95
    assert is_rotated(mtcnn, turned(astronaut(), 3), face)


def test_a_sure_face_costs_no_search(astronaut_face):
    assert astronaut_face.confidence >= 0.9995
    assert not is_rotated(None, astronaut(), astronaut_face)


def test_a_face_at_the_edge_of_the_picture_is_looked_at_too(mtcnn):
    points = ((1.0, 1.0),) * 5
    for box in (Box(-30, -30, 20, 20), Box(500, 500, 540, 540), Box(0, 0, 1.5, 1.5)):
        assert not is_rotated(mtcnn, astronaut(), DetectedFace(box, points, 0.95))


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["celeba_spoof", "casia_fasd", "lfw_gray"])
def test_of_real_faces_the_upright_ones_pass_and_the_turned_ones_do_not(mtcnn, pad_data, domain):
    files = sorted(pad_data.glob(f"{domain}/**/*.jpg"))
    passed = dict.fromkeys(range(4), 0)
    upright_as_rotated = 0
    for file in files[:: len(files) // 6][:6]:
        picture = shrink_to(np.asarray(Image.open(file).convert("RGB")), 320)[0]
        for turns in range(4):
            view = turned(picture, turns)
            for face in mtcnn.detect(view):
                rotated = is_rotated(mtcnn, view, face)
                upright_as_rotated += rotated and not turns
                passed[turns] += not rotated and not refusals(measure(view, face), QualityGates())
    assert passed[0] >= 4
    assert upright_as_rotated == 0
    assert passed[1] == passed[2] == passed[3] == 0
