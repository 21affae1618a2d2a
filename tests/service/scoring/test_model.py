import cv2
import onnxruntime as ort
import pytest
from structlog.testing import capture_logs

from liveness_core.detection import DetectorSpec
from liveness_core.scoring import Scorer
from liveness_service.errors import ModelUnavailableError
from liveness_service.scoring import model
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
    loaded = load(bundle_path=live_bundle)
    assert loaded.bundle.manifest.name == "tiny"
    assert loaded.detector.name == "yunet_onet"
    assert len(loaded.detector.detect(astronaut())) == 1


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
    loaded = load(bundle_path=live_bundle, detector="yunet", detector_model=str(weights))
    assert loaded.detector.name == "yunet"
    [face] = loaded.detector.detect(astronaut())
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


def test_automatic_passes_over_what_does_not_work_with_one_clear_warning(live_bundle, monkeypatch):
    monkeypatch.setattr(model, "candidates", lambda _: ("tensorrt", "cuda", "cpu"))
    with capture_logs() as lines:
        loaded = load(bundle_path=live_bundle)
    assert loaded.providers == {"encoder": "cpu", "classifier": "cpu", "detector": "cpu"}
    [warning] = [line for line in lines if line["event"] == "provider_passed_over"]
    assert (warning["log_level"], warning["goes_on_with"]) == ("warning", "cpu")
    assert [reason.split(":")[0] for reason in warning["reasons"]] == ["tensorrt", "cuda"]


def test_the_cpu_alone_is_no_reason_to_warn(live_bundle):
    with capture_logs() as lines:
        load(bundle_path=live_bundle)
    assert [line["event"] for line in lines] == ["model_loaded"]


@pytest.fixture
def sizes(monkeypatch):
    """How many faces each batch had that was scored."""
    sizes = []
    real = Scorer.score

    def score(self, crops, **how):
        sizes.append(len(crops))
        return real(self, crops, **how)

    monkeypatch.setattr(Scorer, "score", score)
    return sizes


def test_every_size_of_a_batch_is_warmed_up(live_bundle, sizes, monkeypatch):
    monkeypatch.setattr(Scorer, "provider", "cuda")
    load(bundle_path=live_bundle, max_batch_size=18)
    assert {*range(1, 17), 18} <= {*sizes}
    assert 17 not in sizes


def test_the_cpu_needs_the_largest_batch_alone(live_bundle, sizes):
    load(bundle_path=live_bundle, max_batch_size=18)
    assert sizes[-2:] == [18, 1]


def test_threads_of_a_batch_are_no_more_than_the_cores(live_bundle, monkeypatch):
    monkeypatch.setattr(model, "available_cores", lambda: 2)
    for given, used in ((2, 2), (3, 2)):
        encoder = load(bundle_path=live_bundle, intra_op_threads=given).bundle.scorer._encoder
        assert encoder.native.get_session_options().intra_op_num_threads == used
