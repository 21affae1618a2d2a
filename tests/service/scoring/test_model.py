import cv2
import onnxruntime as ort
import pytest

from liveness_core.detection import DetectorSpec
from liveness_service.errors import ModelUnavailableError
from liveness_service.scoring.model import load_model
from liveness_service.settings import Settings
from support.pictures import astronaut
from support.tiny_bundle import make_tiny_bundle


def load(**settings):
    given = Settings(**settings)
    return load_model(given.bundle_path, given)


def fault_of(**settings):
    with pytest.raises(ModelUnavailableError) as raised:
        load(**settings)
    assert raised.value.members == {"file": raised.value.file, "reason": raised.value.reason}
    return raised.value


def test_a_sound_bundle_is_loaded_with_the_detector_that_it_was_trained_with(live_bundle):
    model = load(bundle_path=live_bundle)
    assert model.bundle.manifest.name == "tiny"
    assert model.detector.name == "yunet_onet"
    assert len(model.detector.detect(astronaut())) == 1


def test_whatever_is_wrong_becomes_a_fault_that_names_the_file_and_the_reason(fault):
    found = fault_of(**fault.settings)
    assert found.file == fault.file
    assert fault.reason in found.reason


def test_a_file_that_is_no_network_is_a_fault(live_bundle, tmp_path):
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"not a network")
    for detector in ("scrfd", "yunet"):
        found = fault_of(bundle_path=live_bundle, detector=detector, detector_model=str(weights))
        assert found.file == "face detector"
        assert "weights.onnx" in found.reason


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_cuda_is_not_replaced_by_the_cpu_in_silence(live_bundle):
    found = fault_of(bundle_path=live_bundle, provider="cuda")
    assert found.file == "execution provider"
    assert "CUDA" in found.reason


def test_another_detector_can_be_chosen(live_bundle, detectors_dir):
    [weights] = detectors_dir.glob("*yunet*.onnx")
    model = load(bundle_path=live_bundle, detector="yunet", detector_model=str(weights))
    assert model.detector.name == "yunet"
    [face] = model.detector.detect(astronaut())
    assert face.box.x1 < 225 < face.box.x2


def test_the_detector_of_before_stays(live_bundle, tmp_path):
    """By the setting, and for every bundle that was trained with it."""
    assert load(bundle_path=live_bundle, detector="mtcnn").detector.name == "mtcnn"
    make_tiny_bundle(tmp_path / "older", detector=DetectorSpec(name="mtcnn"))
    assert load(bundle_path=tmp_path / "older").detector.name == "mtcnn"


def test_the_least_confidence_can_be_set(live_bundle):
    def confidences(**settings):
        detector = load(bundle_path=live_bundle, **settings).detector
        return [face.confidence for face in detector.detect(cv2.GaussianBlur(astronaut(), (0, 0), 18))]

    assert len(confidences(detector_min_confidence=0.1)) > len(confidences(detector_min_confidence=0.999))
