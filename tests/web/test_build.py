"""What is committed of the page is what its source makes, small enough, and the detector finds what YuNet finds."""

import gzip
import importlib.util
import json

import cv2
import numpy as np
import pytest

from liveness_core.detection.yunet_network import YunetNetwork
from liveness_core.runtime import RuntimeOptions
from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.browser import HINTS, MODULES, ROOT, WEB, needs_node, node, seen

SERVED = ROOT / "service/liveness_service/web"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    needs_node()
    folder = tmp_path_factory.mktemp("built")
    node("build.mjs", "dist", folder / "dist")
    node("build.mjs", "page", folder / "page")
    return folder


def test_the_committed_page_is_what_its_source_makes(built):
    for made in sorted((built / "page").iterdir()):
        assert made.read_bytes() == (SERVED / made.name).read_bytes(), f"{made.name} is old: `make web` makes it anew"


def test_the_tools_have_exactly_the_versions_that_are_named():
    wanted = json.loads((WEB / "package.json").read_text())["devDependencies"]
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert version[0].isdigit()
    assert not any("resolved" in package for package in locked.values())  # whatever registry somebody uses


def test_the_weights_are_those_of_the_detector_of_the_service():
    spec = importlib.util.spec_from_file_location("weights", WEB / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    network = ROOT / "core/liveness_core/detection/yunet_weights/face_detection_yunet_2026may.onnx"
    assert weights.packed(network) == (SERVED / "yunet.bin").read_bytes()
    assert (WEB / "LICENSE-yunet").read_text() == (network.parent / "LICENSE").read_text()


def test_the_component_has_at_most_60_kb_gzipped_and_the_page_150_kb(built):
    assert len(gzip.compress((built / "dist/index.js").read_bytes())) <= 60_000
    assert sum(file.stat().st_size for file in SERVED.iterdir() if file.name != "yunet.bin") <= 150_000
    assert (SERVED / "yunet.bin").stat().st_size <= 110_000
    assert all(file.stat().st_size <= 25_000 for file in SERVED.glob("*.jpg"))


_FIND = """
import { readFileSync } from 'node:fs';
const { Detector } = await import(process.argv[2] + '/index.js');
const whole = path => new Uint8Array(readFileSync(path)).buffer;
const detector = new Detector(whole(process.argv[2] + '/yunet.bin'));
const frames = JSON.parse(readFileSync(process.argv[3], 'utf8'));
const found = ({ path, width, height }) => detector.find({ width, height, data: new Uint8Array(whole(path)) });
console.log(JSON.stringify(frames.map(found)));
"""


def test_the_detector_finds_what_onnx_runtime_finds(built, tmp_path):
    shapes = dict.fromkeys(HINTS, (160, 120)) | {"upright": (120, 160)}
    asked, expected = [], []
    network = YunetNetwork("test", RuntimeOptions())
    for name, (width, height) in shapes.items():
        frame = seen(size=0.4) if name == "upright" else HINTS[name]()[0]
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        canvas = np.zeros((160, 160, 3), np.uint8)
        canvas[:height, :width] = frame
        expected.append(network.find(canvas, 0.6))
        np.dstack([canvas, np.full((160, 160), 255, np.uint8)]).tofile(tmp_path / name)
        asked.append({"path": str(tmp_path / name), "width": 160, "height": 160})
    (tmp_path / "frames.json").write_text(json.dumps(asked))
    (tmp_path / "find.mjs").write_text(_FIND)
    found = json.loads(node(tmp_path / "find.mjs", built / "dist", tmp_path / "frames.json"))
    for name, rows, faces in zip(shapes, expected, found, strict=True):
        assert len(faces) == len(rows), name
        for row, face in zip(rows, faces, strict=True):
            box = [face["x1"], face["y1"], face["x2"], face["y2"]]
            assert np.abs(np.array(box) - row[:4]).max() < 0.25, name  # pixels of 160
            assert np.abs(np.array(face["landmarks"]).ravel() - row[5:]).max() < 0.25, name
            assert abs(face["confidence"] - row[4]) < 0.01, name
    assert [len(faces) for faces in found] == [0 if n == "no_face" else 2 if n == "one_face" else 1 for n in shapes]


def test_weights_of_another_length_are_refused(built, tmp_path):
    script = "const { Detector } = await import(process.argv[2]); for (const more of [-2, 0, 2])"
    script += " try { new Detector(new ArrayBuffer(106208 + more)); console.log('taken') }"
    script += " catch (error) { console.log(error.message) }"
    (tmp_path / "lengths.mjs").write_text(script)
    said = node(tmp_path / "lengths.mjs", built / "dist/index.js").splitlines()
    assert said == ["yunet.bin is too short", "taken", "yunet.bin is too long"]


@pytest.mark.slow
def test_the_types_agree_with_the_description_of_the_api(tmp_path):
    needs_node()
    (tmp_path / "openapi.json").write_text(json.dumps(create_app(Settings()).openapi()))
    node(MODULES / "openapi-typescript/bin/cli.js", tmp_path / "openapi.json", "--output", WEB / "src/openapi.ts")
    node(MODULES / "typescript/bin/tsc", "--project", "tsconfig.json", "--outDir", tmp_path / "types")
    assert (tmp_path / "types/src/index.d.ts").exists()
    assert (tmp_path / "types/src/client.d.ts").exists()
