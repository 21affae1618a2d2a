import numpy as np
import pytest

from liveness_training.evaluation.calibration import fit_temperature, operating_points
from liveness_training.evaluation.metrics import Scored


def test_temperature_is_found_again():
    random = np.random.default_rng(0)
    logit = random.normal(0, 2, 40_000)
    live = random.random(40_000) < 1 / (1 + np.exp(-logit))
    # A network that is three times too sure of itself.
    assert fit_temperature(3 * logit, live) == pytest.approx(3, rel=0.05)


def test_many_attacks_weigh_no_more_than_few_live_pictures():
    random = np.random.default_rng(0)
    logit = random.normal(0, 2, 40_000)
    live = random.random(40_000) < 1 / (1 + np.exp(-logit))
    rare = ~live | (random.random(40_000) < 0.1)
    assert fit_temperature(3 * logit[rare], live[rare]) == pytest.approx(fit_temperature(3 * logit, live), rel=0.1)


def test_operating_points_hold_their_limit_for_the_worst_species():
    random = np.random.default_rng(0)
    scores = np.concatenate([random.beta(5, 2, 300), random.beta(2, 5, 300), random.beta(3, 3, 300)])
    species = np.repeat(["live", "print", "replay"], 300)
    points = operating_points(Scored.of(scores, species == "live", species), "drawn")
    for name, limit in (("apcer10", 0.10), ("apcer5", 0.05), ("apcer1", 0.01)):
        replays = scores[species == "replay"]
        assert (replays >= points[name].threshold).mean() <= limit
        assert points[name].apcer == (replays >= points[name].threshold).mean()
        assert points[name].chosen_on == "drawn"
