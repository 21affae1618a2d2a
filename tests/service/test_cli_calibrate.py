"""`liveness calibrate` on real pictures: bundles, reports, stops and continuations."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from liveness_core.bundle import load_bundle
from liveness_core.bundle.load import read_manifest
from liveness_service.calibration.faces import Answer, CalibrationError
from liveness_service.calibration.journal import Journal
from liveness_service.cli import app
from liveness_service.submission import Endpoint
from support.pictures import astronaut, encoded, no_face
from support.requests import PHOTO, URL, as_form, bearer, make_keys
from support.tiny_bundle import make_tiny_bundle

PEOPLE = 24


def dimmed(share):
    """A small astronaut in this share of the light: the graded bundle scores it by its brightness."""
    small = cv2.resize(astronaut()[:300, 90:390], (150, 150), interpolation=cv2.INTER_AREA)
    return encoded(np.asarray(small * share, np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 live people, two of them with two pictures; a photo of nobody, notes; and attacks that are darker."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,species,subject"]
    for person in range(PEOPLE):
        for take in range(1 + (person < 2)):
            path = folder / "live" / f"p{person}" / f"{take}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dimmed(0.7 + 0.3 * person / PEOPLE + 0.005 * take))
            rows.append(f"live/p{person}/{take}.jpg,live,,p{person}")
        if person < 12:
            (folder / f"print{person}.jpg").write_bytes(dimmed(0.4 + 0.4 * person / PEOPLE))
            rows.append(f"print{person}.jpg,spoof,print,p{person}")
    (folder / "live" / "p3" / "nobody.jpg").write_bytes(encoded(no_face()))
    (folder / "live" / "p4" / "notes.txt").write_text("notes")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "graded"
    make_tiny_bundle(path, bias=0, gain=4, temporal=True)
    return path


@pytest.fixture(scope="module")
def calibrate(data, bundle):
    """Run the command; the scores of all runs here are in one journal."""

    def run(*arguments, journal=data / "journal"):
        given = ["calibrate", "--bundle", str(bundle), "--journal", str(journal), *map(str, arguments)]
        return CliRunner().invoke(app, given)

    return run


@pytest.fixture(scope="module")
def lobby(calibrate, data, tmp_path_factory):
    """A bundle with the point `lobby`, from live people alone."""
    store = tmp_path_factory.mktemp("store")
    result = calibrate(data / "live", "--write", "lobby", "--into", store, "--report", store / "report.html")
    assert result.exit_code == 0, result.output
    return store, result


def test_live_people_alone_give_a_threshold_and_say_what_it_costs(lobby):
    store, result = lobby
    point = read_manifest(store / "lobby").operating_points["lobby"]
    assert f"Set lobby for photos to {point.threshold:.4f}" in result.stdout
    assert "no measurement" in result.stdout
    assert "1 files, no_face" in result.stderr
    assert "1 files, unsupported_media" in result.stderr
    assert "clips were not calibrated" in result.stderr
    calibration = point.calibration
    assert (calibration.live_people, calibration.live_files) == (PEOPLE, PEOPLE + 2)
    assert (calibration.undetermined_files, calibration.method) == (2, "live_only")
    # The threshold is below the bundle's laxest point, so that all that is known of attacks is that they may all pass.
    assert (point.bpcer, point.apcer, calibration.apcer_of) == (1 / (PEOPLE + 1), 1, "operating_points")
    assert point.reference_scores.count == PEOPLE + 2
    assert "24 live people of live" in point.chosen_on


def test_the_new_bundle_shares_its_networks_and_the_old_one_is_as_it_was(lobby, bundle):
    store, _ = lobby
    old, new = read_manifest(bundle), read_manifest(store / "lobby")
    assert new.files == old.files
    for name in old.files:
        assert (store / "lobby" / name).samefile(bundle / name)
    assert (old.version, new.version, new.default_operating_point) == ("1", "1-lobby", "lobby")
    assert "lobby" not in old.operating_points
    assert new.temporal.operating_points["lobby"] == old.temporal.operating_points["eer"]
    assert load_bundle(store / "lobby").manifest == new


@pytest.mark.slow
def test_a_second_camera_is_a_second_point_and_not_the_default(lobby, data):
    store, _ = lobby
    base = ["calibrate", str(data / "live"), "--bundle", str(store / "lobby"), "--journal", str(data / "journal-2")]
    result = CliRunner().invoke(app, [*base, "--write", "gate", "--into", str(store), "--refused", "10"])
    assert result.exit_code == 0, result.output
    new = read_manifest(store / "gate")
    assert {"lobby", "gate"} < set(new.operating_points)
    assert (new.version, new.default_operating_point) == ("1-gate", "lobby")
    assert new.operating_points["gate"].threshold > new.operating_points["lobby"].threshold
    again = CliRunner().invoke(app, [*base, "--write", "gate", "--into", str(store)])
    assert again.exit_code == 2
    assert "exists: choose another name" in again.stderr


def test_the_new_bundle_becomes_the_active_one_and_its_point_decides(lobby, bundle, serve):
    store, _ = lobby
    with serve(bundle_path=bundle, models_url=str(store)) as client:
        assert client.post(URL, **as_form(PHOTO)).json()["operating_point"] == "eer"
        changed = client.put("/v1/operations/models/active", json={"model": "lobby"})
        assert changed.status_code == 200, changed.text
        assert client.post(URL, **as_form(PHOTO)).json()["operating_point"] == "lobby"
        (model,) = [one for one in client.get("/v1/models").json()["models"] if one["role"] == "active"]
        assert model["operating_points"]["lobby"]["calibration"]["live_people"] == PEOPLE
        watched = client.app.state.service.metrics.registry.get_sample_value
        labels = {"name": "tiny", "version": "1-lobby", "operating_point": "lobby", "endpoint": URL}
        assert watched("liveness_point_reference_people", labels) == PEOPLE
        assert watched("liveness_point_score_count", labels) == 1


def test_a_key_is_judged_by_its_own_point(lobby, serve):
    store, _ = lobby
    keys, entries = make_keys(gate="score", lobby="score")
    settings = {"bundle_path": store / "lobby", "api_keys": entries, "key_operating_points": "gate=strict"}
    with serve(**settings) as client:
        answers = {
            name: client.post(URL, **as_form(PHOTO), headers=bearer(keys[name])).json()["operating_point"]
            for name in keys
        }
        assert answers == {"gate": "strict", "lobby": "lobby"}
        named = client.post(f"{URL}?operating_point=eer", **as_form(PHOTO), headers=bearer(keys["gate"])).json()
        assert named["operating_point"] == "eer"
    with serve(**settings | {"key_operating_points": "gate=nowhere"}) as client:
        refused = client.post(URL, **as_form(PHOTO), headers=bearer(keys["gate"]))
        assert refused.status_code == 422
        assert "no 'nowhere'" in refused.json()["detail"]
        assert client.post(URL, **as_form(PHOTO), headers=bearer(keys["lobby"])).status_code == 200


def test_the_report_needs_no_other_file_and_shows_the_worst(lobby):
    page = (lobby[0] / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]+", page)
    assert page.count("<svg") == 2
    assert page.count("data:image/jpeg") == 12
    assert "Calibration of the operating point “lobby”" in page
    assert "prefers-color-scheme: dark" in page


def test_attacks_give_points_by_cost_and_by_rate(calibrate, data, tmp_path):
    report = tmp_path / "report.html"
    result = calibrate(
        "--index", data / "index.csv", "--write", "shop", "--into", tmp_path, "--report", report, "--no-pictures"
    )
    assert result.exit_code == 0, result.output
    points = read_manifest(tmp_path / "shop").operating_points
    assert {"shop", "shop-eer", "shop-apcer10", "shop-bpcer10", "shop-bpcer5"} <= set(points)
    assert "shop-apcer5: 5 % of people is less than one of 12: it takes 19 people" in result.stdout
    calibration = points["shop"].calibration
    assert (calibration.method, calibration.attack_people, calibration.apcer_of) == ("labelled", 12, "these_data")
    page = report.read_text()
    assert page.count("<svg") == 4
    assert "data:image/jpeg" not in page
    assert "holds pictures" not in page


def test_costs_and_rates_can_be_chosen(calibrate, data, tmp_path):
    chosen = ("--cost-attack", 50, "--attack-prevalence", 0.3, "--bpcer", 20, "--write", "shop")
    result = calibrate("--index", data / "index.csv", *chosen, "--into", tmp_path, "--no-default")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "shop")
    assert manifest.default_operating_point == "eer"
    assert set(manifest.operating_points) == {"eer", "strict", "shop", "shop-eer", "shop-bpcer20"}
    assert "costs 50" in manifest.operating_points["shop"].calibration.rule
    assert "30 % of presentations" in manifest.operating_points["shop"].calibration.rule


def test_too_few_people_write_nothing_and_say_how_many_it_takes(calibrate, data, tmp_path):
    result = calibrate(data / "live", "--refused", 2, "--write", "lobby", "--into", tmp_path)
    assert result.exit_code == 2
    assert "photos: 24 live people have a score" in result.stderr
    assert "takes 49; 24 are enough for --refused 4" in result.stderr
    assert not (tmp_path / "lobby").exists()


def test_what_cannot_work_is_told_before_anything_is_scored(calibrate, data, tmp_path):
    for arguments, said in (
        ((), "--index"),
        ((data / "live", "--index", data / "index.csv"), "--index"),
        ((data / "live", "--write", "a/b"), "letters, digits"),
        ((data / "nowhere.csv",), "No such file"),
        ((data / "live", "--report", tmp_path / "no" / "report.html"), "its folder does not exist"),
    ):
        result = calibrate(*arguments, journal=tmp_path / "journal")
        assert result.exit_code == 2, arguments
        assert said in result.stderr
    assert not (tmp_path / "journal").exists()


def test_a_journal_outlives_a_crash_and_another_bundle_is_scored_anew(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, "bundle 1") as journal:
        journal.add("a" * 64, Answer(Endpoint.PHOTO, 0.25))
        journal.add("b" * 64, Answer(Endpoint.CLIP, None, ("no_face",)))
        journal.add("c" * 64, Answer(Endpoint.PHOTO, 0.75))
    path.write_bytes(path.read_bytes()[:-20])  # the last line is cut off
    with Journal(path, "bundle 1") as journal:
        assert journal.get("a" * 64) == Answer(Endpoint.PHOTO, 0.25)
        assert journal.get("b" * 64) == Answer(Endpoint.CLIP, None, ("no_face",))
        assert journal.get("c" * 64) is None
        journal.add("c" * 64, Answer(Endpoint.PHOTO, 0.75))
    with Journal(path, "bundle 2") as journal:
        assert journal.get("a" * 64) is None
    with Journal(path, "bundle 1") as journal:
        assert journal.get("c" * 64) == Answer(Endpoint.PHOTO, 0.75)


def test_another_file_is_not_taken_for_a_journal(tmp_path):
    (tmp_path / "notes").write_text(json.dumps({"some": "notes"}) + "\n")
    with pytest.raises(CalibrationError, match="not a journal"):
        Journal(tmp_path / "notes", "bundle 1")
    assert (tmp_path / "notes").read_text() == json.dumps({"some": "notes"}) + "\n"


@pytest.mark.slow  # a process of its own
def test_a_stopped_run_goes_on_and_ends_with_the_same_thresholds(lobby, calibrate, data, bundle, tmp_path):
    """Ctrl-C on a real process in the middle; then the last line is cut off, as by the end of the machine."""
    journal = tmp_path / "journal"
    # A background job of a shell would ignore the signal.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{listening}; from liveness_service.__main__ import main; main()"
    command = [sys.executable, "-c", run, "calibrate", str(data / "live")]
    command += ["--bundle", str(bundle), "--journal", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 120
        while lines_of(journal) < 10 and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped: what was scored is kept; the same command goes on from there" in said
    assert "Traceback" not in said
    journal.write_bytes(journal.read_bytes()[:-10])
    kept = lines_of(journal)
    assert 9 <= kept < PEOPLE + 3
    result = calibrate(data / "live", "--write", "lobby", "--into", tmp_path, journal=journal)
    assert result.exit_code == 0, result.output
    assert lines_of(journal) == PEOPLE + 4  # what was scored before was not scored again
    whole, resumed = (read_manifest(store / "lobby").operating_points["lobby"] for store in (lobby[0], tmp_path))
    assert resumed.threshold == whole.threshold
    assert resumed.calibration.data_sha256 == whole.calibration.data_sha256
    assert resumed.reference_scores == whole.reference_scores


def lines_of(journal):
    """How many files have a whole answer in a journal."""
    found = set()
    for line in journal.read_bytes().splitlines(keepends=True) if journal.exists() else ():
        with contextlib.suppress(ValueError):  # cut off, or being written
            found.add(json.loads(line)["file"])
    return len(found)
