import shutil

import pytest

from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path, bias=0.5, gain=2.0)
    return path


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")
