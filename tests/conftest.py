from pathlib import Path

import pytest
import structlog

import liveness_core  # noqa: F401 (before any test loads ONNX Runtime, whose telemetry it switches off)
from support.pictures import SHARED

# Where a test sets up no logging, structlog writes tracebacks with Rich, which takes a second for each of them.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


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
