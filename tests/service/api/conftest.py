import pytest

from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def clips_bundle(tmp_path_factory):
    """Scores a clip of the astronaut about 0.95, and its frames a little differently from one another."""
    path = tmp_path_factory.mktemp("bundles") / "clips"
    make_tiny_bundle(path, bias=3, gain=0.5, temporal=True)
    return path


@pytest.fixture(scope="module")
def clips(serve, clips_bundle):
    with serve(bundle_path=clips_bundle) as client:
        yield client
