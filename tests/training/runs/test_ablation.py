import json

import numpy as np
import pytest

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError, Sample
from liveness_training.runs.ablation import TABLES, protocols_of, run_rows
from liveness_training.runs.ablation_table import as_markdown
from liveness_training.runs.folder import RunError
from liveness_training.runs.plan import RunPlan

DOMAINS = ("oulu_npu", "casia_fasd", "replay_attack", "msu_mfsd", "siw", "replay_mobile")


def data(domains, frames):
    """Two people a domain, a live recording and an attack each; `frames` of each recording, by domain."""
    samples = [
        Sample(f"{person}/{species}/{frame}.jpg", domain, species == "live", species, person, f"{person}_{species}")
        for domain in domains
        for person in ("p1", "p2")
        for species in ("live", "print")
        for frame in range(frames.get(domain, 1))
    ]
    return CropSet(tuple(samples), (), np.zeros((len(samples), 1, 32, 32, 3), np.uint8))


class Runs:
    """Stands for training: remembers what it was asked for, gives figures that name it."""

    def __init__(self):
        self.asked = []

    def __call__(self, crops, config, folder):
        self.asked.append((folder, config))
        folder.mkdir(parents=True)
        target = config.hold_out[0]
        figures = {"auc": 0.9, "auc_low": 0.85, "auc_high": 0.95, "hter_idealised": 0.1, "hter_realistic": 0.2}
        report = {f"held_out/{target}": figures, f"held_out/{target}@clip": {**figures, "auc": 0.97}}
        report["dev"] = {"auc": 0.99 + 0.001 * config.seed}
        (folder / "metrics.json").write_text(json.dumps(report))
        return report


def test_table_3_has_the_papers_six_rows_over_its_four_protocols():
    table = TABLES[3]
    parts = [{name for name, on in row.settings.items() if on} for row in table.rows]
    assert parts == [set(), {"dib"}, {"lstm"}, {"lstm", "dvb"}, {"dib", "lstm"}, {"dib", "lstm", "dvb"}]
    assert set(table.protocols) == {"msu_mfsd", "casia_fasd", "replay_attack", "oulu_npu"}
    for target, sources in table.protocols.items():
        assert {target, *sources} == set(table.protocols)
        assert len(sources) == 3
    full = table.rows[-1].paper
    assert full["msu_mfsd"] == (15.42, 91.13)
    assert full["casia_fasd"] == (17.41, 90.12)
    assert full["replay_attack"] == (15.87, 91.87)
    assert full["oulu_npu"] == (14.72, 93.08)
    assert table.rows[0].paper["replay_attack"] == (20.12, 90.1)


def test_table_4_has_the_papers_four_rows_over_its_three_protocols():
    table = TABLES[4]
    parts = [{name for name, on in row.settings.items() if on} for row in table.rows]
    assert parts == [set(), {"dis"}, {"dis", "dib"}, {"dib"}]
    assert table.protocols["casia_fasd"] == ("siw", "oulu_npu", "replay_attack", "replay_mobile")
    assert set(table.protocols["oulu_npu"]) == {"siw", "casia_fasd", "replay_attack", "replay_mobile"}
    assert [row.paper["oulu_npu"][0] for row in table.rows] == [10.27, 8.75, 23.4, 8.05]


def test_every_row_is_trained_on_every_protocol_without_its_target(tmp_path):
    runs = Runs()
    crops = data(DOMAINS[:4], dict.fromkeys(DOMAINS, 8))
    protocols = protocols_of(TABLES[3], DOMAINS[:4], ())
    results = run_rows(TABLES[3].rows, protocols, TrainConfig(steps=7), crops, tmp_path, runs)
    assert len(runs.asked) == 24
    assert len({folder for folder, _ in runs.asked}) == 24
    for _, config in runs.asked:
        assert config.steps == 7
        assert not {*config.hold_out} & {*config.sources}
        assert len(config.sources) == 3
    assert {name: set(targets) for name, targets in results.items()} == {
        row.name: set(TABLES[3].protocols) for row in TABLES[3].rows
    }
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_runs_that_are_there_are_read_and_not_made_again(tmp_path):
    crops = data(DOMAINS[:4], {})
    protocols = protocols_of(TABLES[3], DOMAINS[:4], ("casia_fasd",))
    rows = TABLES[3].rows[:2]
    first = run_rows(rows, protocols, TrainConfig(), crops, tmp_path, Runs())
    again = Runs()
    assert run_rows(rows, protocols, TrainConfig(), crops, tmp_path, again) == first
    assert not again.asked


def test_a_run_that_has_ended_with_other_settings_is_not_taken_for_the_rows(tmp_path):
    crops = data(DOMAINS[:4], {})
    protocols = protocols_of(TABLES[3], DOMAINS[:4], ("casia_fasd",))
    given = (TABLES[3].rows[:1], protocols)
    plan = {"preprocess": PreprocessSpec(), "detector": DetectorSpec(), "resume": True}

    def train(crops, config, folder):
        RunPlan(folder, config, **plan).claim_folder(None)
        (folder / "metrics.json").write_text("{}")
        return {}

    def check(config, folder):
        RunPlan(folder, config, **plan).claim_folder(None)

    run_rows(*given, TrainConfig(steps=7), crops, tmp_path, train, check)
    run_rows(*given, TrainConfig(steps=7), crops, tmp_path, Runs(), check)
    with pytest.raises(RunError, match="another value of steps"):
        run_rows(*given, TrainConfig(steps=8), crops, tmp_path, Runs(), check)


def test_where_the_paper_gives_acer_ours_stands_beside_it():
    figures = {"auc": 0.9, "hter_idealised": 0.1, "hter_realistic": 0.2, "acer": 0.234}
    results = {"ResNet": {target: [{f"held_out/{target}": figures}] for target in ("oulu_npu", "casia_fasd")}}
    lines = as_markdown(TABLES[4], TABLES[4].rows, results).splitlines()
    assert "| ResNet | oulu_npu (O) | frames | – | ACER 23.40 | 90.00 | – | ACER 10.27 | – |" in lines
    assert "| ResNet | casia_fasd (C) | frames | 10.00 | 20.00 | 90.00 | – | 17.50 | – |" in lines


def test_rows_with_an_lstm_need_a_target_with_clips(tmp_path, caplog):
    runs = Runs()
    crops = data(("casia_fasd", "replay_attack", "nuaa"), {"replay_attack": 8})
    protocols = protocols_of(TABLES[3], ("casia_fasd", "replay_attack", "nuaa"), ("casia_fasd", "replay_attack"))
    results = run_rows(TABLES[3].rows, protocols, TrainConfig(), crops, tmp_path, runs)
    assert set(results["ResNet + LSTM"]) == {"replay_attack"}
    assert set(results["ResNet + DIB"]) == {"casia_fasd", "replay_attack"}
    assert "casia_fasd is left out" in caplog.text


def test_data_that_lack_a_domain_of_the_table_are_refused_by_its_name():
    with pytest.raises(DataError, match="needs msu_mfsd, oulu_npu, which the data lack"):
        protocols_of(TABLES[3], ("casia_fasd", "replay_attack"), ())
    with pytest.raises(DataError, match="no domain with attacks is named 'nuua', only casia_fasd, nuaa"):
        protocols_of(TABLES[3], ("casia_fasd", "nuaa"), ("casia_fasd", "nuua"))


def test_targets_of_ones_own_have_all_others_as_sources():
    protocols = protocols_of(TABLES[3], ("nuaa", "hall", "office"), ("nuaa", "hall"))
    assert protocols == {"nuaa": ("hall", "office"), "hall": ("nuaa", "office")}


def test_table_shows_the_papers_figures_beside_ours(tmp_path):
    crops = data(("casia_fasd", "replay_attack", "nuaa"), {"replay_attack": 8})
    protocols = protocols_of(TABLES[3], ("casia_fasd", "replay_attack", "nuaa"), ("replay_attack", "nuaa"))
    rows = TABLES[3].rows[:3]
    results = run_rows(rows, protocols, TrainConfig(), crops, tmp_path, Runs())
    lines = as_markdown(TABLES[3], rows, results).splitlines()
    assert (
        "| ResNet + DIB | replay_attack (I) | frames | 10.00 | 20.00 | 90.00 (85.0–95.0) | 99.10 | 17.63 | 86.30 |"
        in lines
    )
    assert "| ResNet + DIB | nuaa | frames | 10.00 | 20.00 | 90.00 (85.0–95.0) | 99.10 | – | – |" in lines
    assert (
        "| ResNet + LSTM | replay_attack (I) | clips | 10.00 | 20.00 | 97.00 (85.0–95.0) | – | 18.00 | 89.78 |" in lines
    )
    assert "| ResNet + DIB | mean of targets | frames | 10.00 | 20.00 | 90.00 | 99.10 | – | – |" in lines


def test_several_seeds_are_runs_of_their_own_and_give_mean_and_deviation(tmp_path):
    runs = Runs()
    crops = data(("casia_fasd", "replay_attack"), {})
    protocols = protocols_of(TABLES[3], ("casia_fasd", "replay_attack"), ("casia_fasd", "replay_attack"))
    given = (TABLES[3].rows[:1], protocols, TrainConfig(seed=5), crops, tmp_path)
    first = run_rows(*given, runs)
    results = run_rows(*given, runs, seeds=3)
    assert [(str(folder.relative_to(tmp_path)), config.seed) for folder, config in runs.asked] == [
        (f"resnet/{target}{ending}", seed)
        for ending, seed in (("", 5), ("-seed6", 6), ("-seed7", 7))
        for target in ("casia_fasd", "replay_attack")
    ]
    assert results["ResNet"]["casia_fasd"][0] == first["ResNet"]["casia_fasd"][0]
    for report, auc in zip(results["ResNet"]["casia_fasd"], (0.6, 0.7, 0.8), strict=True):
        report["held_out/casia_fasd"] = {**report["held_out/casia_fasd"], "auc": auc}
    lines = as_markdown(TABLES[3], TABLES[3].rows, results).splitlines()
    shared = "frames | 10.0 ± 0.0 | 20.0 ± 0.0"
    assert f"| ResNet | casia_fasd (C) | {shared} | 70.0 ± 10.0 | 99.6 ± 0.1 | 25.92 | 82.16 |" in lines
    # Of the mean over targets each seed is one value: 75, 80, 85.
    assert f"| ResNet | mean of targets | {shared} | 80.0 ± 5.0 | 99.6 ± 0.1 | – | – |" in lines
    assert "Mean ± standard deviation, 3 runs a row and target, with other seeds." in lines
