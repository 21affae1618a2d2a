from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, metadata

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from liveness_core.detection import DetectorModelError, DetectorSpec, DetectorUnavailableError, create_detector
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.detection.scrfd import ScrfdDetector
from liveness_core.detection.yunet import YunetDetector
from support.pictures import astronaut, no_face, two_faces
from support.tiny_bundle import classifier_bytes

MODELS = {"scrfd": "scrfd_500m_bnkps.onnx", "yunet": "face_detection_yunet_2026may.onnx"}


def needs_its_package(name):
    if name == "scrfd":
        pytest.importorskip("insightface", reason="insightface is not installed (see docs/deployment.md)")


@pytest.fixture(scope="module", params=sorted(MODELS))
def detector(request, detectors_dir):
    needs_its_package(request.param)
    spec = DetectorSpec(name=request.param)
    return create_detector(spec, model=str(detectors_dir / MODELS[request.param]))


def overlap(first, second):
    width = min(first.x2, second.x2) - max(first.x1, second.x1)
    height = min(first.y2, second.y2) - max(first.y1, second.y1)
    shared = max(width, 0) * max(height, 0)
    return shared / (first.area + second.area - shared)


def same_face(first, second):
    """Whether the boxes overlap and no landmark is off by more than a fifth of the distance between the eyes."""
    first_52, second_52 = np.array(first.landmarks), np.array(second.landmarks)
    eyes = np.hypot(*(first_52[1] - first_52[0]))
    return overlap(first.box, second.box) > 0.75 and np.hypot(*(first_52 - second_52).T).max() < eyes / 5


def test_finds_the_astronaut_as_mtcnn_does(detector, astronaut_face):
    [face] = detector.detect(astronaut())
    assert same_face(astronaut_face, face)
    assert 0.6 <= face.confidence <= 1


def test_channels_are_in_the_order_that_the_networks_expect(detector, detectors_dir):
    # Both find faces in swapped colours too, with another confidence; their own libraries take BGR.
    bgr, model = np.ascontiguousarray(astronaut()[..., ::-1]), str(detectors_dir / MODELS[detector.name])
    if detector.name == "scrfd":
        zoo = import_module("insightface.model_zoo.scrfd")
        [[*_, expected]], _ = zoo.SCRFD(model).detect(bgr, input_size=(640, 640), det_thresh=0.6)
    else:
        [[*_, expected]] = cv2.FaceDetectorYN.create(model, "", (512, 512), 0.6).detect(bgr)[1]
    assert detector.detect(astronaut())[0].confidence == pytest.approx(float(expected), abs=1e-4)


def test_finds_both_of_two_faces_and_the_larger_first(detector, mtcnn):
    first, second = detector.detect(two_faces())
    assert first.box.area >= second.box.area
    for known in mtcnn.detect(two_faces()):
        assert same_face(known, first) != same_face(known, second)


def test_landmarks_are_ordered_by_the_pictures_sides(detector, mtcnn):
    mirrored = np.ascontiguousarray(astronaut()[:, ::-1])
    [face], [known] = detector.detect(mirrored), mtcnn.detect(mirrored)
    assert same_face(known, face)


def test_coordinates_of_a_large_picture_are_its_own(detector, mtcnn):
    large = cv2.resize(astronaut(), (1920, 1920), interpolation=cv2.INTER_LINEAR)
    [face], [known] = detector.detect(large), mtcnn.detect(large)
    assert same_face(known, face)


def test_finds_a_face_that_fills_most_of_the_picture(detector, mtcnn):
    filled = np.ascontiguousarray(astronaut()[20:220, 130:320])
    filled = cv2.resize(filled, (1140, 1200), interpolation=cv2.INTER_LINEAR)
    [face], [known] = detector.detect(filled), mtcnn.detect(filled)
    assert overlap(known.box, face.box) > 0.6


def test_finds_a_face_larger_than_the_picture(detector):
    filled = cv2.resize(astronaut()[60:175, 178:268], (720, 920), interpolation=cv2.INTER_CUBIC)
    [face] = detector.detect(filled)
    (left, eye_y), (right, _) = face.landmarks[:2]
    assert 0.2 < left / 720 < 0.45
    assert 0.6 < right / 720 < 0.85
    assert 0.25 < eye_y / 920 < 0.5


def test_each_detector_has_a_limit_of_its_own():
    limits = {name: DetectorSpec(name=name).min_confidence for name in ("mtcnn", "scrfd", "yunet", "yunet_onet")}
    assert limits == {"mtcnn": 0.9, "scrfd": 0.5, "yunet": 0.6, "yunet_onet": 0.9}
    assert DetectorSpec(name="scrfd", min_confidence=0.7).min_confidence == 0.7


@pytest.mark.parametrize("picture", [no_face(), np.zeros((64, 64, 3), np.uint8)], ids=["coffee", "black"])
def test_finds_no_face_where_none_is(detector, picture):
    assert detector.detect(picture) == []


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (400, 5), (1, 700), (700, 1), (9, 3000)])
def test_tiny_pictures_hold_no_face(detector, shape):
    assert detector.detect(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


@pytest.mark.slow
def test_threads_get_what_one_thread_gets(detector):
    pictures = [astronaut(), np.ascontiguousarray(astronaut()[:300, :400]), no_face(), two_faces()]
    pictures = [np.ascontiguousarray(picture[::2, ::2]) for picture in pictures] * 2
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector.detect, pictures))
    assert together == [detector.detect(picture) for picture in pictures[:4]] * 2


@pytest.mark.parametrize("name", sorted(MODELS))
def test_detector_without_a_model_says_what_it_needs(name):
    """The service adds which of its settings to check."""
    with pytest.raises(DetectorModelError, match=f"{name} needs a model file"):
        create_detector(DetectorSpec(name=name))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_model_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(DetectorModelError, match=rf"{name}: .*nowhere\.onnx"):
        create_detector(DetectorSpec(name=name), model=str(tmp_path / "nowhere.onnx"))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_file_that_is_no_network_is_refused(name, tmp_path):
    needs_its_package(name)
    (tmp_path / "broken.onnx").write_bytes(b"garbage" * 100)
    with pytest.raises(DetectorUnavailableError, match=r"broken\.onnx"):
        create_detector(DetectorSpec(name=name), model=str(tmp_path / "broken.onnx"))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_another_network_is_refused_at_once_and_not_at_the_first_picture(name, tmp_path):
    needs_its_package(name)
    (tmp_path / "other.onnx").write_bytes(classifier_bytes(0, 1))
    with pytest.raises(DetectorUnavailableError, match=r"other\.onnx"):
        create_detector(DetectorSpec(name=name), model=str(tmp_path / "other.onnx"))


def test_scrfd_takes_a_model_pack_by_its_name(detectors_dir, tmp_path):
    needs_its_package("scrfd")
    pack = tmp_path / "buffalo_test"
    pack.mkdir()
    (pack / "det_500m.onnx").symlink_to(detectors_dir / MODELS["scrfd"])
    (pack / "w600k.onnx").write_bytes(b"another network of the pack")
    [face] = ScrfdDetector("buffalo_test", packs_root=tmp_path).detect(astronaut())
    assert face.confidence > 0.5
    with pytest.raises(DetectorUnavailableError, match="buffalo_other is neither"):
        ScrfdDetector("buffalo_other", packs_root=tmp_path)


def test_a_name_that_is_not_known_is_refused():
    """Pydantic checks names, but not those of copies; what it lets through must not get another detector."""
    with pytest.raises(ValidationError, match="yolo"):
        DetectorSpec(name="yolo")
    with pytest.raises(DetectorUnavailableError, match="no face detector 'yolo': choose one of mtcnn, "):
        create_detector(DetectorSpec().model_copy(update={"name": "yolo"}), model="a file")


def test_default_is_yunet_onet_and_the_others_come_by_their_names(detector):
    assert create_detector(DetectorSpec()).name == "yunet_onet"
    assert isinstance(create_detector(DetectorSpec(name="mtcnn")), MtcnnDetector)
    assert isinstance(detector, {"scrfd": ScrfdDetector, "yunet": YunetDetector}[detector.name])


def test_insightface_brings_nothing_that_overwrites_what_we_install():
    installed = {
        (distribution.metadata["Name"] or "").lower().replace("_", "-") for distribution in metadata.distributions()
    }
    if "insightface" not in installed:
        pytest.skip("insightface is not installed")
    assert not installed & {"opencv-python", "opencv-contrib-python"}
    assert "opencv-python-headless" in installed
    assert len(installed & {"onnxruntime", "onnxruntime-gpu"}) == 1
