"""The import rules, checked on what is really loaded; import-linter checks the source."""

import os
import subprocess
import sys

import pytest

STARTED_SERVICE = """
import io, sys
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
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""

CORE = """
import pkgutil, importlib, sys, liveness_core
for module in pkgutil.walk_packages(liveness_core.__path__, "liveness_core."):
    importlib.import_module(module.name)
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def modules_after(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


def test_a_service_that_has_scored_holds_no_torch_and_no_training():
    modules = modules_after(STARTED_SERVICE)
    assert "liveness_service" in modules
    assert not modules & {"torch", "liveness_training", "sklearn", "matplotlib"}


def test_core_needs_neither_half_nor_their_frameworks():
    modules = modules_after(CORE)
    assert not modules & {"torch", "fastapi", "starlette", "liveness_service", "liveness_training"}


@pytest.mark.parametrize(
    "module", ["liveness_core.runtime", "liveness_service.app", "liveness_training.export.networks"]
)
def test_onnx_runtime_is_told_to_send_no_usage_data_before_it_is_loaded(module):
    program = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import {module}
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[:1] == ["telemetry off: 1"], done.stderr
