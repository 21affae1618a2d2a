import pytest

from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.types import DetectedFace
from support.pictures import astronaut


@pytest.fixture(scope="session")
def mtcnn() -> MtcnnDetector:
    return MtcnnDetector()


@pytest.fixture(scope="session")
def astronaut_face(mtcnn) -> DetectedFace:
    [face] = mtcnn.detect(astronaut())
    return face
