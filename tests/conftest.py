from pathlib import Path

import pytest

import liveness_core  # noqa: F401 (before any test loads ONNX Runtime, whose telemetry it switches off)
from support.pictures import SHARED


@pytest.fixture(scope="session")
def detectors_dir() -> Path:
    """Real SCRFD and YuNet weights."""
    folder = SHARED / "detectors"
    if not folder.is_dir():
        pytest.skip("real detector weights (../shared/detectors) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def pad_data() -> Path:
    """Real labelled faces."""
    folder = SHARED / "pad-data"
    if not folder.is_dir():
        pytest.skip("real labelled faces (../shared/pad-data) are not on this machine")
    return folder
