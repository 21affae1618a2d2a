"""The rewritten networks compute what the released ones compute, and are what the recipe makes of these."""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("onnx")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("rewrite", ROOT / "recipes/detectors/rewrite.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session(content):
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_files_are_what_the_recipe_makes(recipe):
    """Compared by their outputs alone, a file could hold more than it should."""
    made = recipe.merged_heads(recipe.released(recipe.YUNET)).SerializeToString()
    assert made == recipe.YUNET.with_name("yunet_rewritten.onnx").read_bytes()
    made = recipe.without_prelu(recipe.released(recipe.ONET)).SerializeToString()
    assert made == recipe.ONET.with_name("onet_rewritten.onnx").read_bytes()


@pytest.mark.parametrize("side", [160, 320])
def test_yunet_gives_the_same_boxes(recipe, side):
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, side, side)).astype(np.float32)
    released = session(recipe.YUNET.read_bytes())
    names = [output.name for output in released.get_outputs()]
    found = dict(zip(names, released.run(names, {"input": picture}), strict=True))
    (rows,) = session(recipe.YUNET.with_name("yunet_rewritten.onnx").read_bytes()).run(["rows"], {"input": picture})
    rows[:, :2] = 1 / (1 + np.exp(-rows[:, :2]))
    of_heads = [
        np.concatenate([found[f"{head}_{stride}"] for stride in (8, 16, 32)], axis=1)
        for head in ("cls", "obj", "bbox", "kps")
    ]
    np.testing.assert_allclose(rows.transpose(0, 2, 1), np.concatenate(of_heads, axis=2), rtol=1e-4, atol=1e-5)


def test_onet_gives_the_same_faces(recipe):
    windows = np.random.default_rng(0).normal(0, 0.7, (3, 3, 48, 48)).astype(np.float32)
    released, rewritten = (
        session(path.read_bytes()) for path in (recipe.ONET, recipe.ONET.with_name("onet_rewritten.onnx"))
    )
    for before, after in zip(
        released.run(None, {"input": windows}), rewritten.run(None, {"input": windows}), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-5)
