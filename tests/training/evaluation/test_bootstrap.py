import numpy as np
import pytest

from liveness_training.evaluation import bootstrap
from liveness_training.evaluation.metrics import Scored, acer, apcer, auc, bpcer, eer, hter


def drawn(seed=0, people=15, ties=False):
    """People with some pictures each: live, prints, or both."""
    random = np.random.default_rng(seed)
    scores, species, clusters = [], [], []
    for person in range(people):
        for _ in range(random.integers(2, 7)):
            kind = ("live", "print", "replay")[0 if person < 4 else random.integers(3)]
            value = np.clip(random.normal(0.6 if kind == "live" else 0.45, 0.2), 0, 1)
            scores.append(round(float(value), 1) if ties else float(value))
            species.append(kind)
            clusters.append(f"p{person}")
    return Scored.of(scores, [kind == "live" for kind in species], species, clusters)


def repeated(scored, weights):
    """The data of one replicate, each presentation as often as it was drawn."""
    places = np.repeat(np.arange(len(weights)), weights.astype(int))
    return Scored(scored.scores_M[places], scored.live_M[places], scored.species_M[places], scored.cluster_M[places])


@pytest.mark.parametrize("ties", [False, True])
def test_every_replicate_has_the_figures_of_its_own_data(ties):
    scored = drawn(ties=ties)
    [weights] = bootstrap._weights(scored, 40, np.random.default_rng(1))
    found = bootstrap._figures(scored, 0.5, weights)
    for place, row in enumerate(weights):
        data = repeated(scored, row)
        assert found["auc"][place] == pytest.approx(auc(data))
        assert found["bpcer"][place] == pytest.approx(bpcer(data, 0.5))
        assert found["apcer"][place] == pytest.approx(apcer(data, 0.5))
        assert found["acer"][place] == pytest.approx(acer(data, 0.5))
        assert found["hter_realistic"][place] == pytest.approx(hter(data, 0.5))
        if not ties:
            assert found["eer"][place] == pytest.approx(eer(data)[0], abs=0.02)


def test_people_are_drawn_whole_and_every_replicate_has_both_labels():
    scored = drawn()
    [weights] = bootstrap._weights(scored, 50, np.random.default_rng(1))
    for person in np.unique(scored.cluster_M):
        of_person = weights[:, scored.cluster_M == person]
        assert (of_person == of_person[:, :1]).all()
    assert (weights[:, scored.live_M].sum(1) > 0).all()
    assert (weights[:, ~scored.live_M].sum(1) > 0).all()


def test_interval_holds_the_figure_and_is_wider_for_people_than_for_pictures():
    scored = drawn(people=40)
    by_person = bootstrap.intervals(scored, 0.5)
    low, high = by_person["auc"]
    assert low < auc(scored) < high
    assert set(by_person) == {"auc", "eer", "hter_idealised", "hter_realistic", "apcer", "bpcer", "acer"}
    # Ten times the same picture of each person is no more knowledge than one.
    copies = Scored.of(
        np.tile(scored.scores_M, 10),
        np.tile(scored.live_M, 10),
        np.tile(scored.species_M, 10).tolist(),
        np.tile(scored.cluster_M, 10).tolist(),
    )
    low_of_copies, high_of_copies = bootstrap.intervals(copies, 0.5)["auc"]
    assert high_of_copies - low_of_copies == pytest.approx(high - low, rel=0.01)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Scores of independent people: live N(1, 1), attacks N(0, 1), whose AUC is Φ(1/√2) = 0.7602."""
    random, covered = np.random.default_rng(0), 0
    for _ in range(60):
        values = np.concatenate([random.normal(1, 1, 80), random.normal(0, 1, 80)])
        scored = Scored.of(values, [True] * 80 + [False] * 80, ["live"] * 80 + ["print"] * 80)
        low, high = bootstrap.intervals(scored, None, replicates=200)["auc"]
        covered += low <= 0.7602 <= high
    assert covered >= 51  # 57 are expected


def test_same_seed_gives_the_same_intervals():
    assert bootstrap.intervals(drawn(), 0.5, replicates=50) == bootstrap.intervals(drawn(), 0.5, replicates=50)
    assert bootstrap.intervals(drawn(), 0.5, replicates=50) != bootstrap.intervals(drawn(), 0.5, replicates=50, seed=1)


def test_without_a_threshold_only_what_needs_none_is_given():
    assert set(bootstrap.intervals(drawn(), None, replicates=20)) == {"auc", "eer", "hter_idealised"}


def test_perfect_scores_have_no_spread():
    scored = Scored.of([0.9, 0.8, 0.2, 0.1], [True, True, False, False], ["live", "live", "print", "print"])
    found = bootstrap.intervals(scored, 0.5, replicates=50)
    assert found["auc"] == (1, 1)
    assert found["hter_realistic"] == found["eer"] == (0, 0)


def test_two_scorers_of_the_same_people_differ_by_less_than_their_own_intervals_say():
    first = drawn(people=40)
    random = np.random.default_rng(1)
    noisier = first.scores_M + random.normal(0, 0.02, len(first.scores_M))
    second = Scored(noisier, first.live_M, first.species_M, first.cluster_M)
    found = bootstrap.differences(first, second)
    assert set(found) == {"auc", "eer", "hter_idealised"}
    low, high = found["auc"]
    assert low <= auc(second) - auc(first) <= high
    own_low, own_high = bootstrap.intervals(first, None)["auc"]
    assert high - low < (own_high - own_low) / 2
    assert set(bootstrap.differences(first, first).values()) == {(0.0, 0.0)}


def test_scores_of_other_presentations_have_no_difference():
    with pytest.raises(ValueError, match="same presentations"):
        bootstrap.differences(drawn(seed=0), drawn(seed=1))
