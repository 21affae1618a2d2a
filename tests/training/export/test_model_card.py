"""The model card says what the manifest says, and nothing where there is nothing to say."""

import pytest

from liveness_core.bundle import Provenance
from liveness_training.export.model_card import model_card
from support.tiny_bundle import make_tiny_bundle

FIGURES = {
    "images": 40.0,
    "auc": 0.9,
    "eer": 0.1,
    "hter_realistic": 0.2,
    "hter_idealised": 0.1,
    "apcer": 0.15,
    "bpcer": 0.25,
    "apnrr": 0.0,
    "bpnrr": 0.0,
}


@pytest.fixture
def card_of(tmp_path):
    def written(temporal=False, config=None, **changes):
        manifest = make_tiny_bundle(tmp_path / "b", temporal=temporal, **{"metrics": {"test": FIGURES}, **changes})
        if config is not None:
            provenance = Provenance(**{**manifest.provenance.model_dump(), "config": config})
            manifest = manifest.model_copy(update={"provenance": provenance})
        return model_card(manifest, {"encoder.onnx": 1000, "temporal.onnx": 10})

    return written


def test_interval_stands_beside_its_figure(card_of):
    card = card_of(metrics={"test": FIGURES | {"auc_low": 0.85, "auc_high": 0.94}})
    assert "| test | 40 | 90.0 [85.0, 94.0] | 10.0 |" in card
    assert "95 % intervals" in card
    assert "95 % intervals" not in card_of()


def test_attacks_are_told_apart_where_their_rates_are_known(card_of):
    card = card_of(metrics={"held_out/hall": FIGURES | {"apcer/print": 0.15, "apcer/replay": 0.02}})
    assert "| held_out/hall | print | 15.0 |" in card
    assert "| held_out/hall | replay | 2.0 |" in card
    assert "By kind of attack" not in card_of()


def test_failures_are_told_where_they_were_looked_at(card_of, tmp_path):
    manifest = make_tiny_bundle(tmp_path / "c", metrics={"test": FIGURES})
    assert "## Where it fails\n\nPrints on matt paper." in model_card(
        manifest, {"encoder.onnx": 1}, "Prints on matt paper.\n"
    )
    assert "Where it fails" not in card_of()


@pytest.mark.parametrize("frozen", [False, True])
def test_networks_that_it_learned_from_are_named(card_of, frozen):
    config = {"teacher": [{"name": "wise.onnx", "sha256": "0" * 64}]}
    if frozen:
        config = {"frozen": True, "init_run": {"git_commit": "abc", "config": {}, **config}}
    assert "published networks (`wise.onnx`;" in card_of(config=config)
    assert "published networks" not in card_of(config={})


@pytest.mark.parametrize("frozen", [False, True])
def test_says_that_the_classifier_was_changed_for_grey_pictures(card_of, frozen):
    config = {"grey_weight": 0.2}
    if frozen:
        config = {"frozen": True, "grey_weight": 0.0, "init_run": {"git_commit": "abc", "config": config}}
    assert "grey copies of training pictures get the score of the coloured ones (`grey_weight` 0.2)" in card_of(
        config=config
    )
    assert "grey" not in card_of(config={"grey_weight": 0.0})


def test_figure_that_was_not_measured_is_a_dash(card_of):
    clip = {"presentations": 7.0, "auc": 0.5, "hter_idealised": 0.5}
    assert "| test@clip | 7 | 50.0 | – | – | 50.0 | – | – | – | – | – |" in card_of(metrics={"test@clip": clip})


def test_only_the_levels_that_are_there_are_explained(card_of):
    assert "@" not in card_of()
    both = card_of(metrics={"test": FIGURES, "test@video": FIGURES, "held_out/hall@clip": FIGURES})
    assert "`@video` rows count recordings" in both
    assert "`@clip` rows count clips" in both


def test_bundle_that_scores_clips_has_their_thresholds(card_of):
    card = card_of(temporal=True)
    assert "one photo or the 8 frames of a clip" in card
    assert "## Clips" in card
    assert card.count("eer (default)") == 2


def test_bundle_for_photos_says_nothing_of_clips_unless_the_run_had_a_head(card_of):
    assert "clip" not in card_of(config={"lstm": False}).lower()
    assert "had a temporal head, which is left out" in card_of(config={"lstm": True})


def test_says_where_unseen_domains_were_measured_by_shorter_runs(card_of):
    assert "shorter runs" not in card_of(metrics={"held_out/hall": FIGURES})
    card = card_of(metrics={"held_out/hall": FIGURES | {"steps": 400.0}})
    assert "shorter runs than this bundle's, of 400 iterations" in card


def test_no_figures_are_not_an_empty_table(card_of):
    card = card_of(metrics={"held_out/hall": FIGURES})
    assert "Not measured: all their people were trained on." in card
    assert "| held_out/hall | 40 |" in card


def test_a_head_on_a_frozen_encoder_names_the_run_that_the_encoder_is_of(card_of):
    earlier = {"git_commit": "0123456789ab", "config": {}, "init_run": None}
    assert "code at commit `0123456789ab`" in card_of(temporal=True, config={"frozen": True, "init_run": earlier})
    assert "earlier run" not in card_of(temporal=True, config={"frozen": False})


def test_both_rates_for_known_and_unknown_cameras_come_before_everything_else(card_of):
    worse = FIGURES | {"apcer": 0.745, "bpcer": 0.0}
    clips = FIGURES | {"apcer": 1.0, "bpcer": 1.0}
    card = card_of(
        metrics={
            "test/hall": FIGURES,
            "held_out/hall": FIGURES,
            "held_out/street": worse,
            "held_out/street@clip": clips,
        }
    )
    first = card[: card.index("## ")]
    assert "| known, people new | 25.0 % | 15.0 % |" in first
    assert "| unknown: left out of training | 0.0 to 25.0 % | 15.0 to 74.5 % |" in first
    assert "not a verdict" in first
    assert "What it gets wrong" not in card_of(metrics={"test": {"auc": 0.9}})


def test_the_names_of_operating_points_are_explained(card_of):
    assert "at `eer` both are equal." in card_of()
