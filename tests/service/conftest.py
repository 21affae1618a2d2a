import os
import shutil
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from liveness_core.bundle import GoldenCases, Manifest, load_bundle, save_bundle
from liveness_core.detection import DetectorSpec, FaceDetector, create_detector, warm_up
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import Scorer
from liveness_service.app import create_app
from liveness_service.process import prepare_process
from liveness_service.scoring import model as model_of_service
from liveness_service.settings import Settings
from support.fakes import FakeSource, renamed
from support.faulty_bundles import FAULTS
from support.signing import SigningKey
from support.tiny_bundle import DEPTH, encoder_bytes, make_tiny_bundle

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
        # Apps in the tests' own process read uploads in threads: hundreds of them would each start four processes.
        # Real services (support/server.py) have their workers, and tests/service/workers asks for them.
        patch.setenv("LIVENESS_WORKERS", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _process_as_the_service_prepares_it() -> None:
    prepare_process()


@pytest.fixture(scope="session", autouse=True)
def _detectors_are_made_and_warmed_up_once() -> Iterator[None]:
    """Before its first request an app loads its face detector and runs it in all sizes: four fifths of its start.

    So does the first app of each process of the tests. The hundreds after it use the same networks, which keep
    nothing from one picture to the next; those that name a model file load it, since they may ask for one that is not
    there.
    """
    made: dict[tuple[DetectorSpec, RuntimeOptions | None], FaceDetector] = {}
    warm = set()

    def create_once(
        spec: DetectorSpec, *, model: str | None = None, runtime: RuntimeOptions | None = None
    ) -> FaceDetector:
        if model is not None:
            return create_detector(spec, model=model, runtime=runtime)
        if (spec, runtime) not in made:
            made[spec, runtime] = create_detector(spec, runtime=runtime)
        return made[spec, runtime]

    def warm_up_once(detector: FaceDetector) -> None:
        if detector.name not in warm:
            warm_up(detector)
            warm.add(detector.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_of_service, "create_detector", create_once)
        patch.setattr(model_of_service, "warm_up", warm_up_once)
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


@pytest.fixture(scope="session")
def fragile_bundle(tmp_path_factory) -> Path:
    """A real network with a real fault: it scores the astronaut NaN, and a darker one about 0.3."""
    path = tmp_path_factory.mktemp("bundles") / "fragile"
    manifest = make_tiny_bundle(path)
    classifier = _classifier_that_takes_a_logarithm()
    cases = GoldenCases.from_bytes((path / "golden.npz").read_bytes())
    scorer = Scorer(OrtSession(encoder_bytes()), OrtSession(classifier), manifest.preprocess, 1.0)
    scores = np.array([result.score for result in scorer.score(cases.faces(["image"]))])
    golden = GoldenCases(cases.crops_KSS3, {"fp32": scores})
    resave(path, {"classifier.onnx": classifier, "golden.npz": golden.to_bytes()})
    return path


def _classifier_that_takes_a_logarithm() -> bytes:
    """logit of live = log(0.05 - mean): not a number for a crop that is brighter than the golden cases."""
    weight = np.zeros((DEPTH, 2), np.float32)
    weight[:, 0] = -1 / DEPTH
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["embedding", "weight", "bias"], ["raw"]),
            helper.make_node("Log", ["raw"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DEPTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([0.05, 1], np.float32), "bias")],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def resave(path: Path, changed: dict[str, bytes]) -> None:
    """Write a bundle again with other files, its hashes right: as an exporter with a fault would."""
    manifest = Manifest.model_validate_json((path / "bundle.json").read_text())
    save_bundle(path, manifest, {name: (path / name).read_bytes() for name in manifest.files} | changed)


@dataclass(frozen=True)
class Fault:
    """Settings with which there is no model, and what must be said of it."""

    settings: dict[str, Any]
    file: str
    reason: str


@pytest.fixture(params=FAULTS)
def fault(request, live_bundle, tmp_path) -> Fault:
    path = shutil.copytree(live_bundle, tmp_path / "broken")
    settings = {"bundle_path": path}
    match request.param:
        case "flipped byte":
            content = bytearray((path / "encoder.onnx").read_bytes())
            content[len(content) // 2] ^= 1
            (path / "encoder.onnx").write_bytes(content)
            return Fault(settings, "encoder.onnx", "SHA-256")
        case "missing file":
            (path / "classifier.onnx").unlink()
            return Fault(settings, "classifier.onnx", "missing")
        case "missing manifest":
            (path / "bundle.json").unlink()
            return Fault(settings, "bundle.json", "missing")
        case "renamed tensor":
            resave(path, {"encoder.onnx": encoder_bytes("pixels")})
            return Fault(settings, "encoder.onnx", "'image'")
        case "missing folder":
            reason = "no such folder: check LIVENESS_BUNDLE_PATH"
            return Fault({"bundle_path": tmp_path / "nowhere"}, str(tmp_path / "nowhere"), reason)
        case "no such precision":
            return Fault(settings | {"precision": "int8"}, "bundle.json", "int8")
        case "no signature":
            keys = SigningKey.make(tmp_path).public
            reason = "sign it with `liveness models sign`, or copy its signature with it; LIVENESS_BUNDLE_PUBLIC_KEYS"
            return Fault(settings | {"bundle_public_keys": keys}, "model.sig", reason)
        case "no keys to check it with":
            return Fault(
                settings | {"bundle_public_keys": tmp_path / "none"}, "LIVENESS_BUNDLE_PUBLIC_KEYS", "No such file"
            )
        case "detector without weights":
            return Fault(settings | {"detector": "scrfd"}, "face detector", "LIVENESS_DETECTOR_MODEL")
        case "detector's weights missing":
            model = str(tmp_path / "nowhere.onnx")
            reason = "nowhere.onnx is not a file: check LIVENESS_DETECTOR_MODEL"
            return Fault(settings | {"detector": "yunet", "detector_model": model}, "face detector", reason)
    raise AssertionError(request.param)


@pytest.fixture(scope="session")
def problem_of() -> Callable[..., dict[str, Any]]:
    """Check that a response is a whole problem of this status and code; its content."""

    def checked(response: Any, status: int, code: str) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        content: dict[str, Any] = response.json()
        assert {"type", "title", "status", "detail", "instance", "code", "request_id"} <= set(content)
        assert content["status"] == status
        assert content["code"] == code
        assert content["type"] == f"urn:face-liveness:problem:{code}"
        assert content["instance"] == response.request.url.path
        assert content["request_id"] == response.headers["x-request-id"]
        assert content["title"]
        assert len(content["detail"]) > 10
        assert "Traceback" not in response.text
        assert ".py" not in response.text
        return content

    return checked


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def running() -> Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]:
    """Start an app in the test's own event loop, for requests that overlap: `async with running(bundle_path=…)`."""

    @asynccontextmanager
    async def started(**settings: object) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(Settings(**settings))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", timeout=None) as client,
        ):
            yield client

    return started


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
