import pytest

from liveness_core.bundle import load_bundle
from support.fakes import FakeSource, renamed
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def photo_bundle(live_bundle):
    """A loaded bundle that scores photos only and calls everything live."""
    return load_bundle(live_bundle)


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory):
    """A loaded bundle that scores clips too and calls nothing live."""
    path = tmp_path_factory.mktemp("bundles") / "clips"
    make_tiny_bundle(path, bias=-5, temporal=True)
    return load_bundle(path)


@pytest.fixture
def source(photo_bundle, clip_bundle):
    """`first` and `second` score photos, `fewer` lacks an operating point, `clips` scores clips; None is `first`."""
    points = photo_bundle.manifest.operating_points
    fewer = {name: point for name, point in points.items() if name != "strict"}
    first = renamed(photo_bundle, version="1", manifest_sha256="1" * 64)
    made = FakeSource(
        {
            None: first,
            "first": first,
            "second": renamed(photo_bundle, version="2", manifest_sha256="2" * 64),
            "fewer": renamed(photo_bundle, version="fewer", manifest_sha256="3" * 64, operating_points=fewer),
            "clips": renamed(clip_bundle, version="clips", manifest_sha256="4" * 64),
        }
    )
    yield made
    made.close()
