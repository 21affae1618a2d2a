import gc
import logging
import os
import pkgutil
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog

import liveness_core  # noqa: F401 (before any test loads ONNX Runtime, whose telemetry it switches off)
from liveness_core.detection.mtcnn import MtcnnDetector
from liveness_core.types import DetectedFace
from support.pictures import SHARED, astronaut
from support.privacy import leak_in
from support.server import Server, running_server

# Where a test sets up no logging, structlog writes tracebacks with Rich, which takes a second for each of them.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


@pytest.fixture(autouse=True)
def _no_real_time_priority() -> Iterator[None]:
    """A test that leaves its process with real-time priority starves all others and what they started, for hours."""
    yield
    if hasattr(os, "sched_getscheduler"):  # not on macOS
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.fixture(autouse=True, scope="session")
def _certificates_are_read_once() -> Iterator[None]:
    """Each client of httpx reads the certificates of all authorities: 20 ms and more, for hundreds of them."""
    place = "httpx._transports.default.create_ssl_context"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, cache(pkgutil.resolve_name(place)))
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo `configure_logging`, which changes the whole process: other tests would find no line in their logs."""
    _let_loggers_speak()
    loggers = [logging.getLogger(name) for name in ("", "liveness_core", "liveness_service", "uvicorn.access")]
    before = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in loggers]
    yield
    for logger, handlers, level, disabled in before:
        logger.handlers, logger.disabled = handlers, disabled
        logger.setLevel(level)
    if structlog.is_configured():
        structlog.reset_defaults()


def _let_loggers_speak() -> None:
    """Libraries may silence loggers that exist already, and fixtures of a module configure before any test's."""
    logging.disable(logging.NOTSET)
    logging.root.setLevel(min(logging.root.level, logging.WARNING))
    known = logging.root.manager.loggerDict
    for logger in _own_loggers(len(known)):
        logger.disabled, logger.propagate = False, True


@cache  # a test makes few new loggers, and there are hundreds to look at
def _own_loggers(known: int) -> list[logging.Logger]:
    loggers = list(logging.root.manager.loggerDict.items())
    return [logger for name, logger in loggers if name.startswith("liveness_") and isinstance(logger, logging.Logger)]


_TESTS = Path(__file__).parent
_LONGEST_FILES = (
    "e2e/test_attacks.py",  # and all that asks the session's server, see _ONE_PROCESS
    "web/test_page.py",
    "web/test_capture.py",
    "training/export/test_bundle.py",
    "e2e/test_workers.py",
    "training/runs/test_train.py",
    "e2e/test_own_data.py",
    "deploy/test_prometheus.py",
    "e2e/test_tracing.py",
    "training/loop/test_distributed.py",
    "e2e/test_chaos.py",
    "e2e/test_fuzz.py",
    "e2e/test_lifecycle.py",
    "service/api/test_liveness_video.py",
    "e2e/test_connections.py",
    "contract/test_openapi.py",
    "training/test_gpu_pack.py",
    "training/loop/test_trainer.py",
    "training/test_shortcut.py",
    "deploy/test_requirements.py",
    "service/workers/test_workers.py",
    "service/decoding/test_promise.py",
    "e2e/test_privacy.py",
    "deploy/test_nginx.py",
    "training/models/test_init.py",
    "client/test_client.py",
    "core/test_stills.py",
    "core/detection/test_tracking.py",
    "web/test_build.py",
    "service/scoring/test_clip_cases.py",
    "e2e/test_sessions.py",
    "e2e/test_load.py",
    "service/api/test_operations.py",
    "service/api/test_upload.py",
    "service/api/test_examples.py",
    "e2e/test_model_switch.py",
    "core/detection/test_own_detectors.py",
    "core/bundle/test_manifest.py",
    "service/workers/test_memory.py",
    "core/detection/test_other_detectors.py",
    "core/test_video_boxes.py",
    "training/data/test_oulu_npu.py",
    "deploy/test_dockerfiles.py",
    "service/test_cli_calibrate.py",
    "service/api/test_rate_limit.py",
    "core/test_video_damage.py",
    "service/api/test_audit.py",
    "web/test_client.py",
    "training/report/test_features.py",
)
"""Each takes five seconds or more of a process, the longest first, as measured with slow tests on two cores."""


_ONE_PROCESS = (
    # Ask the session's `server`, which each process would start for itself.
    (
        *("e2e/test_attacks.py", "e2e/test_clip.py", "e2e/test_phones.py", "e2e/test_photo.py", "e2e/test_refusals.py"),
        "e2e/test_snippets.py",
    ),
    # Export with torch, which takes seconds to get ready for it.
    ("training/export/test_bundle.py", "training/export/test_networks.py"),
)
"""Files that are cheaper in one process than in several. All others go, one by one, to whichever process is free."""


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out whole files, and those of `_ONE_PROCESS` together."""
    from xdist.scheduler import LoadFileScheduling

    first = {f"tests/{name}": f"tests/{names[0]}" for names in _ONE_PROCESS for name in names}

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return first.get(file, file)

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep Python's garbage collector from what lives until the end: all libraries and four thousand tests.

    It would look at all of it while they are loaded, and again whenever a test leaves much behind.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, whatever the seed: in the end `tests/run` then has only short ones to deal out."""
    place = {_TESTS / name: number for number, name in enumerate(_LONGEST_FILES)}
    if gone := [str(path) for path in place if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py, _LONGEST_FILES: {', '.join(gone)} is not there")
    items.sort(key=lambda item: place.get(item.path, len(place)))


_UPLOADS = {"service", "e2e", "contract", "client"}
"""Folders whose tests upload pictures."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose service logs a picture, a crop or an embedding, whatever else the test is about."""
    report = yield
    if item.path.relative_to(_TESTS).parts[0] in _UPLOADS and report.passed:
        for name, written in report.sections:
            if (leak := leak_in(written.encode())) is not None:
                report.outcome, report.longrepr = "failed", f"{name} has {leak}"
    return report


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


@pytest.fixture(scope="session")
def mtcnn() -> MtcnnDetector:
    """The detector that the others are compared with, and on whose crops older bundles were trained."""
    return MtcnnDetector()


@pytest.fixture(scope="session")
def astronaut_face(mtcnn: MtcnnDetector) -> DetectedFace:
    """The face in the astronaut photo."""
    [face] = mtcnn.detect(astronaut())
    return face


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service with the default bundle and default settings for all tests that only ask it."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
