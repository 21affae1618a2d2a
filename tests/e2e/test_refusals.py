"""Bad input and damaged bundles are refused with the contract's status and a reason; nothing gets a 500 or a score."""

import io
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image

from liveness_core.bundle import Manifest, default_bundle_path, save_bundle
from liveness_core.bundle.load import read_manifest
from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.pictures import astronaut, encoded
from support.server import Server, running_server

with warnings.catch_warnings():
    # Starlette would rather be tested with httpx2, a package that nothing else here needs.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 1 << 20) + b"IDAT" + bytes(64)


CASES = {
    "an empty body": (b"", 400, "empty_body", "0 bytes"),
    "a truncated JPEG": (encoded(astronaut())[:9_000], 400, "unreadable_media", "truncated"),
    "a text file": (b"Dear service,\nplease find attached", 415, "unsupported_media", "text"),
    "a GIF": (encoded(astronaut()[:64, :64], "GIF"), 415, "unsupported_media", "GIF"),
    "51 megapixels": (png_header(51_000, 1_000), 413, "too_many_pixels", "51000x1000"),
    "a forged header": (png_header(100_000, 100_000), 413, "too_many_pixels", "100000x100000"),
    "too many bytes": (b"\xff\xd8\xff" + bytes(21 << 20), 413, "too_many_bytes", "20,971,520"),
}


@pytest.mark.parametrize(("content", "status", "code", "says"), CASES.values(), ids=CASES.keys())
def test_bad_content(server: Server, content, status, code, says):
    with server.client() as client:
        answers = [
            client.post("/v1/liveness", content=content, headers={"Content-Type": "image/jpeg"}),
            client.post("/v1/liveness", files={"image": ("a.jpg", content, "image/jpeg")}),
        ]
    for answer in answers:
        problem = answer.json()
        assert answer.status_code == problem["status"] == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["code"] == code
        assert says in problem["detail"]
        assert problem["request_id"] == answer.headers["X-Request-ID"]


def test_one_pixel_is_a_picture_without_a_face(server: Server):
    with server.client() as client:
        answer = client.post("/v1/liveness", content=encoded(np.zeros((1, 1, 3), np.uint8), "PNG"))
    assert answer.status_code == 200
    assert answer.json()["reasons"] == ["no_face"]


def test_a_photo_that_the_camera_stored_on_its_side_is_scored_upright(server: Server):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise to be upright
    Image.fromarray(np.rot90(astronaut())).save(buffer, "PNG", exif=exif)
    with server.client() as client:
        turned = client.post("/v1/liveness", content=buffer.getvalue()).json()
        upright = client.post("/v1/liveness", content=encoded(astronaut(), "PNG")).json()
    assert turned["faces"] == upright["faces"]


def test_a_client_that_hangs_up_midway_harms_nobody(server: Server):
    def broken():
        yield b"\xff\xd8\xff"
        raise RuntimeError("the client's network is gone")

    with server.client() as client, pytest.raises(RuntimeError):
        client.post("/v1/liveness", content=broken())
    with server.client() as client:
        assert client.post("/v1/liveness", content=encoded(astronaut())).status_code == 200


def test_an_upload_that_is_refused_early_still_reads_its_answer(server: Server):
    # A client that sends its whole body before it reads must not find the connection reset.
    body = bytes(60 << 20)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/v1/liveness", content=body)
    assert answer.status_code == 413


def flip_a_byte(bundle: Path) -> str:
    path = bundle / read_manifest(bundle).variants[0].encoder.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name


def remove_a_file(bundle: Path) -> str:
    (bundle / "classifier.onnx").unlink()
    return "classifier.onnx"


def rename_a_tensor(bundle: Path) -> str:
    """With right hashes: as a faulty exporter would write it."""
    manifest = read_manifest(bundle)
    files = {name: (bundle / name).read_bytes() for name in manifest.files}
    model = onnx.load_from_string(files["classifier.onnx"])
    for node in model.graph.node:
        node.input[:] = ["feature" if name == "embedding" else name for name in node.input]
    model.graph.input[0].name = "feature"
    files["classifier.onnx"] = model.SerializeToString()
    save_bundle(bundle, manifest, files)
    return "classifier.onnx"


def lower_a_threshold(bundle: Path) -> str:
    manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
    point = manifest.operating_points[manifest.default_operating_point]
    text = (bundle / "bundle.json").read_text()
    assert f'"threshold": {point.threshold}' in text
    (bundle / "bundle.json").write_text(text.replace(f'"threshold": {point.threshold}', '"threshold": 0.0'))
    return "bundle.json"


@contextmanager
def app_in_this_process(folder: Path, bundle: Path) -> Iterator[httpx.Client]:
    """What a started service does with a bundle, without a process to start."""
    with TestClient(create_app(Settings(bundle_path=bundle, workers=0))) as client:
        yield client


@contextmanager
def service(folder: Path, bundle: Path) -> Iterator[httpx.Client]:
    with running_server(folder, bundle_path=str(bundle), workers="0") as server, server.client() as client:
        yield client


@pytest.mark.parametrize(
    ("damage", "start"),
    [
        (flip_a_byte, app_in_this_process),
        (remove_a_file, app_in_this_process),
        (rename_a_tensor, app_in_this_process),
        (lower_a_threshold, app_in_this_process),
        pytest.param(lower_a_threshold, service, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_bundle_is_named_and_never_scores(tmp_path, damage, start):
    bundle = tmp_path / "bundle"
    shutil.copytree(default_bundle_path(), bundle)
    file = damage(bundle)

    with start(tmp_path, bundle) as client:
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        problem = ready.json()
        assert problem["code"] == "model_unavailable"
        assert problem["file"] == file
        assert problem["reason"]
        assert file in problem["detail"]
        answer = client.post("/v1/liveness", files={"image": ("a.jpg", encoded(astronaut()))})
        assert answer.status_code == 503
        assert answer.json()["file"] == file
        assert "score" not in answer.json()


def test_a_connection_can_go_on_after_head_options_and_trace(server: Server) -> None:
    with server.client() as client:
        for path in ("/health/ready", "/docs"):
            length = len(client.get(path).content)
            head = client.head(path)
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(length))
        assert client.options("/health/live").status_code == 204
        assert client.request("TRACE", "/health/live").status_code == 405
        assert client.get("/health/live").json() == {"status": "live"}
