"""Every statement on README's first screen is held by a test, or by a figure that a command of this repository makes.

The first screen reaches to what it looks like, its third heading. A sentence that nothing holds fails here, as does a
figure that is not the measured one.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from liveness_core.bundle import Manifest
from liveness_core.runtime import Provider
from liveness_service.api.schemas import ClipResponse, LivenessResponse
from liveness_service.calibration.live_only import FEWEST_PEOPLE
from liveness_service.decoding.kinds import ACCEPTED
from liveness_service.results import Verdict
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SCREEN = "\n## ".join(README.split("\n## ")[:2])
MANIFEST = Manifest.model_validate_json((ROOT / "models/default/bundle.json").read_bytes())
FIGURES = json.loads((ROOT / "recipes/default/evaluation/figures.json").read_text())
"""Made by recipes/default/evaluate.py."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXAMPLE = json.loads(re.search(r"```json\n(.*?)```", SCREEN, re.DOTALL)[1])


def prose():
    """The sentences of the first screen, without code, tables and headings."""
    text = re.sub(r"^```.*?^```", "", SCREEN, flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix(">").strip() for line in text.splitlines()]
    kept = [line for line in lines if not line.startswith(("#", "|"))]
    blocks = re.split(r"\n\s*\n", "\n".join(kept))
    return [
        sentence
        for block in blocks
        for sentence in re.split(r"(?<=[.:])\s+(?=[A-Z`*])", " ".join(block.replace("**", "").split()))
        if sentence
    ]


def rates(part):
    """The least and the most of each figure of a part, over its data sets, in percent: BPCER, APCER, AUC."""
    rows = [values for name, values in FIGURES.items() if name.startswith(f"{part}/")]
    point = MANIFEST.default_operating_point
    columns = ([100 * row[name] for row in rows] for name in (f"bpcer@{point}", f"apcer@{point}", "auc"))
    return [(min(column), max(column)) for column in columns]


def check_the_example():
    shown = {**EXAMPLE, "faces": [{**face, "landmarks": [[0, 0]] * 5} for face in EXAMPLE["faces"]]}
    answer = LivenessResponse.model_validate(shown)
    assert answer.model.model_dump() == {"name": MANIFEST.name, "version": MANIFEST.version}
    assert answer.operating_point == MANIFEST.default_operating_point
    assert answer.threshold == round(MANIFEST.operating_points[answer.operating_point].threshold, 4)
    assert (answer.score >= answer.threshold) == (answer.verdict is Verdict.LIVE)
    assert set(shown) | {"heatmap_png"} >= set(LivenessResponse.model_fields)
    for verdict in Verdict:
        assert f"`{verdict}`" in prose()[1]


def check_it_tells_them_apart():
    species = {
        name.partition("/")[2] for values in FIGURES.values() for name in values if name.startswith("apcer@eer/")
    }
    assert {"print", "replay"} <= species
    assert min(values["auc"] for values in FIGURES.values()) > 0.97


def check_what_it_runs_on():
    assert {"cpu", "cuda"} <= set(get_args(Provider))
    assert {"service", "gpu"} <= set(PROJECT["optional-dependencies"])


def check_the_data():
    assert all("research" in entry or "private set" in entry for entry in MANIFEST.provenance.data)


def check_the_default():
    assert (MANIFEST.default_operating_point, MANIFEST.operating_points["balanced"].bpcer <= 0.10) == ("balanced", True)


def check_what_gets_no_verdict():
    shares = {name: max(values["bpnrr"], values["apnrr"]) for name, values in FIGURES.items() if "people" in name}
    assert [name for name, share in shares.items() if share >= 0.01] == ["unseen people/celeba_spoof"]
    web = FIGURES["unseen people/celeba_spoof"]
    reasons = {name: share for name, share in web.items() if name.startswith("refused/")}
    assert round(100 * sum(reasons.values())) == 6
    assert max(reasons, key=reasons.get) == "refused/too_noisy"
    assert reasons["refused/too_noisy"] > sum(reasons.values()) / 2


def check_the_least_sum():
    names = {name for values in FIGURES.values() for name in values if re.fullmatch("apcer@[a-z]+[0-9]*", name)}
    sums = {
        name.removeprefix("apcer@"): sum(
            values[name] + values[name.replace("apcer@", "bpcer@")]
            for part, values in FIGURES.items()
            if part.startswith("unseen domain/")
        )
        for name in names
    }
    assert set(sums) == set(MANIFEST.operating_points)
    assert min(sums, key=sums.get) == "balanced"


def check_stricter_points():
    points = MANIFEST.operating_points
    assert [name for name in points if name.startswith("apcer")] == ["apcer10", "apcer5", "apcer1"]
    for name, laxer in (("apcer10", "balanced"), ("apcer5", "apcer10"), ("apcer1", "apcer5")):
        promised = int(name.removeprefix("apcer")) / 100
        assert promised - 0.005 < points[name].apcer <= promised
        assert points[name].threshold > points[laxer].threshold
        assert points[name].bpcer > points[laxer].bpcer


def check_the_fewest_people():
    assert f"{FEWEST_PEOPLE} or more live people" in " ".join(prose())


def check_what_is_needed():
    assert PROJECT["requires-python"] == ">=3.11"
    assert Settings.model_fields["port"].default == 8000
    assert re.search(r"^serve:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    paths = re.findall(r"curl -F (\w+)=@\S+ http://127.0.0.1:8000(\S+)", SCREEN)
    assert paths == [("image", Endpoint.PHOTO), ("video", Endpoint.CLIP)]


def check_clips():
    assert set(ClipResponse.model_fields) - set(LivenessResponse.model_fields) == {"clip", "frames", "frame_score"}
    assert set(LivenessResponse.model_fields) <= set(ClipResponse.model_fields)


def check_kinds():
    assert ACCEPTED.replace(" and ", " or ") in " ".join(SCREEN.split())


# What a sentence begins with -> what holds it: a check here, or a test elsewhere by its file and name.
HELD = {
    "Self-hosted face liveness": check_it_tells_them_apart,
    "Send a photo or a short clip": (
        check_the_example,
        "tests/e2e/test_photo.py::test_the_astronaut_is_found_scored_and_live",
        "tests/e2e/test_clip.py::test_a_clip_of_any_kind_gets_its_verdict",
    ),
    "The score is the probability of live and not a verdict": (
        "tests/service/scoring/test_verdict.py::test_live_begins_at_the_threshold_and_nan_is_never_live",
        "tests/service/test_cli.py::test_options_arrive",
    ),
    "It runs on a CPU or an NVIDIA GPU": (
        check_what_it_runs_on,
        "tests/e2e/test_privacy.py::test_no_picture_crop_or_embedding_is_written",
        "tests/e2e/test_own_data.py::test_the_page_leads_from_pictures_to_a_served_bundle",
    ),
    "The default model is for evaluation": check_the_data,
    "It was trained on public research data": check_the_data,
    "What it gets wrong at its default": check_the_default,  # the table itself is compared below
    "Pictures without a verdict": check_what_gets_no_verdict,
    "`balanced` has the least sum": check_the_least_sum,
    "`apcer10`, `apcer5` and `apcer1` are stricter": check_stricter_points,
    "Set a threshold of your own": check_the_fewest_people,
    "For production train": "tests/e2e/test_own_data.py::test_the_page_leads_from_pictures_to_a_served_bundle",
    "You need Python 3.11+ and make": check_what_is_needed,
    "The answer for a clip has the same fields": check_clips,
    "`score` is always the probability of live.": (
        "tests/core/test_scoring.py::test_score_rises_with_live_and_falls_with_spoof"
    ),
    "`undetermined` comes with reasons": (
        "tests/service/scoring/test_verdict.py::test_never_live_unless_every_face_is",
        "tests/e2e/test_photo.py::test_pictures_that_cannot_be_judged_are_undetermined_and_not_scored",
    ),
    "Photos may be JPEG": (
        check_kinds,
        "tests/e2e/test_photo.py::test_every_accepted_kind_gives_about_the_same_score",
        "tests/e2e/test_clip.py::test_a_clip_of_any_kind_gets_its_verdict",
    ),
}


@pytest.mark.parametrize("sentence", prose(), ids=lambda sentence: sentence[:30])
def test_every_statement_is_held(sentence):
    [holding] = [held for beginning, held in HELD.items() if sentence.startswith(beginning)]
    for held in holding if isinstance(holding, tuple) else (holding,):
        if isinstance(held, str):
            path, _, name = held.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text()
        else:
            held()


def test_nothing_is_held_that_is_not_said():
    assert [beginning for beginning in HELD if not any(said.startswith(beginning) for said in prose())] == []


@pytest.mark.parametrize(("row", "part"), [("known, people new", "unseen people"), ("unknown", "unseen domain")])
def test_the_rates_are_those_that_the_recipe_measured(row, part):
    [line] = [line for line in SCREEN.splitlines() if line.startswith(f"> | {row}")]
    *whole, auc = [tuple(map(float, re.findall(r"[\d.]+", cell))) for cell in line.split("|")[2:5]]
    *expected, expected_auc = rates(part)
    assert whole == [(round(low), round(high)) for low, high in expected]
    assert auc == tuple(round(value, 1) for value in expected_auc)
