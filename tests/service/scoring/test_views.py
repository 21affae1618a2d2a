"""A model with two views behind the real service: crops of both travel from the worker to the encoder together."""

import base64

import numpy as np
import pytest

from liveness_core.bundle import load_bundle
from liveness_core.detection import create_detector
from liveness_core.views import cut_views
from support.clips import person_clip
from support.pictures import astronaut, encoded, two_faces
from support.two_views import make_two_views_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "two"
    make_two_views_bundle(path, gain=4.0)
    return path


@pytest.fixture(
    scope="module", params=[pytest.param(1, id="worker"), pytest.param(0, id="threads", marks=pytest.mark.slow)]
)
def service(request, serve, folder):
    with serve(bundle_path=folder, workers=request.param) as started:
        yield started


def test_a_photo_is_scored_by_all_its_crops(service, folder):
    bundle = load_bundle(folder)
    [face] = create_detector(bundle.manifest.detector).detect(astronaut())
    [expected] = bundle.scorer.score([cut_views(bundle.manifest.views, astronaut(), face)])
    answer = service.post("/v1/liveness", content=encoded(astronaut(), "PNG"), params={"explain": True}).json()
    assert answer["score"] == pytest.approx(expected.score, abs=1e-5)
    [shown] = answer["faces"]
    heatmap = base64.b64decode(shown["heatmap_png"])
    assert np.frombuffer(heatmap[16:24], ">u4").tolist() == [64, 64]


def test_faces_of_one_photo_keep_their_own_crops(service):
    picture = two_faces().copy()
    picture[:, 512:] //= 3
    answer = service.post("/v1/liveness", content=encoded(picture, "PNG"), params={"faces": "all"}).json()
    scores = {face["box"][0] > 512: face["score"] for face in answer["faces"]}
    assert scores[False] > scores[True] + 0.1


def test_a_clip_is_scored_by_all_its_crops(service):
    answer = service.post("/v1/liveness/video", content=person_clip()).json()
    assert answer["score"] == pytest.approx(answer["frame_score"], abs=0.2)
    assert len([frame for frame in answer["frames"] if frame["score"] is not None]) == 8


def test_the_model_shows_its_views(service):
    [model] = service.get("/v1/models").json()["models"]
    assert [(view["name"], view["rule"], view["size"]) for view in model["views"]] == [
        ("wide", "level_square", 64),
        ("tight", "upright_square", 32),
    ]
    assert (model["preprocess"]["margin"], model["preprocess"]["size"]) == (2.7, 64)
