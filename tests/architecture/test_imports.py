"""The import rules, checked on what is really loaded; import-linter checks the source."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STARTED_SERVICE = """
import io, os, sys
def no_pickle(event, arguments):
    if event == "pickle.find_class":  # a hook cannot be undone, nor can the process go on
        print("unpickled", arguments, file=sys.stderr)
        os._exit(1)
sys.addaudithook(no_pickle)
from PIL import Image
from skimage import data
from starlette.testclient import TestClient
from liveness_service.app import create_app
buffer = io.BytesIO()
Image.fromarray(data.astronaut()).save(buffer, "PNG")
with TestClient(create_app()) as client:
    answer = client.post("/v1/liveness?explain=true", content=buffer.getvalue())
    assert answer.status_code == 200, answer.text
    assert answer.json()["faces"][0]["score"] is not None
    clip = client.post("/v1/liveness/video", content=open(sys.argv[1], "rb").read())
    assert clip.status_code == 200, clip.text
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""

CORE = """
import pkgutil, importlib, sys, liveness_core
for module in pkgutil.walk_packages(liveness_core.__path__, "liveness_core."):
    importlib.import_module(module.name)
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def modules_after(program: str, *arguments: Path) -> set[str]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow  # quick ones look at the source for what it would load and unpickle
def test_a_service_that_has_scored_holds_no_torch_and_no_training_and_unpickled_nothing():
    modules = modules_after(STARTED_SERVICE, ROOT / "tests" / "e2e" / "recordings" / "chromium-h264.mp4")
    assert "liveness_service" in modules
    assert not modules & {"torch", "liveness_training", "sklearn", "matplotlib"}
    assert "cryptography" not in modules  # nobody asked for a signature


def test_core_needs_neither_half_nor_their_frameworks():
    modules = modules_after(CORE)
    assert not modules & {"torch", "fastapi", "starlette", "liveness_service", "liveness_training"}


@pytest.mark.parametrize(
    "module",
    [
        "liveness_core.runtime",
        "liveness_service.app",
        pytest.param("liveness_training.export.networks", marks=pytest.mark.slow),
    ],
)
def test_onnx_runtime_is_told_to_send_no_usage_data_before_it_is_loaded(module):
    program = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"), flush=True)
            os._exit(0)  # it would be loaded now, with much that follows
sys.meta_path.insert(0, Watch())
import {module}
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[:1] == ["telemetry off: 1"], done.stderr


# What makes objects of bytes by running what the bytes say. `multiprocessing` pickles all that its queues, pipes and
# pools pass on; its shared memory passes on bytes.
RUNS_DATA = {
    "pickle",
    "_pickle",
    "pickletools",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "torch",
    "sklearn",
}
RUNS_DATA |= {"torch", "sklearn", "multiprocessing", "multiprocess", "xmlrpc"}
LOADERS = {"load", "save", "savez", "savez_compressed", "read_array", "write_array", "memmap", "genfromtxt"}


def faults_in(source: str) -> list[str]:
    """Where a module imports what unpickles, or lets NumPy unpickle."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            case ast.Call(func=ast.Name(id="__import__" | "eval" | "exec")):
                names = ["pickle"]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name)) if name in LOADERS:
                given = {each.arg: each.value for each in node.keywords}.get("allow_pickle")
                names = [] if isinstance(given, ast.Constant) and given.value is False else ["pickle"]
            case _:
                continue
        faults += [
            f"line {node.lineno}: {name}"
            for name in names
            if (name.split(".")[0] in RUNS_DATA and not name.startswith("multiprocessing.shared_memory"))
            or name.endswith("ProcessPoolExecutor")
        ]
    return faults


@pytest.mark.parametrize("package", ["service/liveness_service", "core/liveness_core"])
def test_nothing_of_the_service_unpickles(package):
    files = list((ROOT / package).rglob("*.py"))
    assert len(files) > 10
    assert {str(file): faults for file in files if (faults := faults_in(file.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch.nn as nn",
        "from multiprocessing import Queue",
        "import multiprocessing.connection",
        "from concurrent.futures import ProcessPoolExecutor",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "__import__('pick' + 'le')",
        "exec(code)",
    ],
)
def test_each_way_to_unpickle_would_be_found(source):
    assert len(faults_in(source)) == 1


def test_what_does_not_unpickle_is_left_alone():
    source = "import numpy as np\nimport json\nfrom multiprocessing.shared_memory import SharedMemory\n"
    assert faults_in(source + "np.load('x', allow_pickle=False)\njson.load(file)\nsession.load()") == []
