import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.tiny_bundle import make_tiny_bundle

with warnings.catch_warnings():
    # Starlette would rather be tested with httpx2, a package that nothing else here needs.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.upper().startswith("LIVENESS_") or name == "PORT":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def live_bundle(tmp_path_factory) -> Path:
    """Scores every real picture about 0.99."""
    path = tmp_path_factory.mktemp("bundles") / "live"
    make_tiny_bundle(path, bias=5)
    return path


@pytest.fixture(scope="session")
def spoof_bundle(tmp_path_factory) -> Path:
    """Scores every real picture about 0.01."""
    path = tmp_path_factory.mktemp("bundles") / "spoof"
    make_tiny_bundle(path, bias=-5)
    return path


@pytest.fixture(scope="session")
def graded_bundle(tmp_path_factory) -> Path:
    """Scores the astronaut about 0.6, a darker one about 0.2."""
    path = tmp_path_factory.mktemp("bundles") / "graded"
    make_tiny_bundle(path, bias=0, gain=4)
    return path


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[TestClient]]:
    """Start an app with these settings: `with serve(bundle_path=…) as client`."""

    @contextmanager
    def started(**settings: object) -> Iterator[TestClient]:
        with TestClient(create_app(Settings(**settings)), raise_server_exceptions=True) as client:
            yield client

    return started


@pytest.fixture(scope="session")
def client(serve, live_bundle) -> Iterator[TestClient]:
    """One app that calls everything live, for tests that leave no trace in it."""
    with serve(bundle_path=live_bundle) as started:
        yield started
