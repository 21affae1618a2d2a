import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveness_training.evaluation.calibration import fit_temperature, operating_points, reference_attacks
from liveness_training.evaluation.metrics import (
    Scored,
    acer,
    apcer,
    apcer_by_species,
    auc,
    bpcer,
    bpcer_at_apcer,
    eer,
    hter,
    source_eer_threshold,
    threshold_at_apcer,
)

# Four live pictures, four prints, two replays.
EXAMPLE = Scored.of(
    [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.2, 0.1, 0.6, 0.4],
    [True] * 4 + [False] * 6,
    ["live"] * 4 + ["print"] * 4 + ["replay"] * 2,
)

# Few different scores, so that ties are common among few pictures; 1 itself cannot be refused by any threshold up to 1.
scores = st.integers(0, 9).map(lambda number: number / 10)


@st.composite
def scored(draw):
    live = draw(st.lists(scores, min_size=1, max_size=8))
    attacks = draw(st.lists(st.tuples(scores, st.sampled_from(["print", "replay", "mask"])), min_size=1, max_size=12))
    return Scored.of(
        [*live, *(score for score, _ in attacks)],
        [True] * len(live) + [False] * len(attacks),
        ["live"] * len(live) + [species for _, species in attacks],
    )


def rates(set_, threshold):
    """Share of attacks that pass and share of bona fide that do not, counted one by one."""
    passed = [score >= threshold for score, live in zip(set_.scores_M, set_.live_M, strict=True) if not live]
    refused = [score < threshold for score, live in zip(set_.scores_M, set_.live_M, strict=True) if live]
    return sum(passed) / len(passed), sum(refused) / len(refused)


def test_rates_of_the_example_by_hand():
    assert bpcer(EXAMPLE, 0.6) == 0.25  # 0.3 of 0.9, 0.8, 0.6, 0.3
    assert apcer_by_species(EXAMPLE, 0.6) == {"print": 0.25, "replay": 0.5}
    assert apcer(EXAMPLE, 0.6) == 0.5  # the worst species, not the mean, which is 2 of 6
    assert hter(EXAMPLE, 0.6) == pytest.approx((0.25 + 2 / 6) / 2)
    # Of the 24 pairs: 0.9 and 0.8 beat all 6, 0.6 beats 4 and ties with 1, 0.3 beats 2.
    assert auc(EXAMPLE) == pytest.approx((6 + 6 + 4.5 + 2) / 24)


def test_score_at_the_threshold_is_live():
    pair = Scored.of([0.5, 0.5], [True, False], ["live", "print"])
    assert bpcer(pair, 0.5) == 0
    assert apcer(pair, 0.5) == 1
    above = np.nextafter(0.5, 1)
    assert bpcer(pair, above) == 1
    assert apcer(pair, above) == 0


def test_higher_is_live():
    right = Scored.of([0.9, 0.8, 0.1, 0.2], [True, True, False, False], ["live", "live", "print", "print"])
    assert auc(right) == 1
    assert eer(right)[0] == 0
    assert 0.2 < eer(right)[1] <= 0.8
    wrong = Scored.of(1 - right.scores_M, right.live_M, right.species_M)
    assert auc(wrong) == 0
    assert eer(wrong)[0] == 1


def test_equal_error_rate_within_a_run_of_attacks_is_found():
    # All attacks score between eight live pictures and two: a straight piece of the ROC curve, in whose middle 2 of 10
    # attacks pass as 2 of 10 live pictures are refused.
    attacks = np.linspace(0.2, 0.65, 10)
    set_ = Scored.of([*[0.9] * 8, 0.1, 0.1, *attacks], [True] * 10 + [False] * 10, ["live"] * 10 + ["print"] * 10)
    rate, threshold = eer(set_)
    assert rate == pytest.approx(0.2)
    assert rates(set_, threshold) == (0.2, 0.2)


@settings(deadline=None, max_examples=100)
@given(scored())
def test_equal_error_rate_is_where_the_two_rates_are_closest(set_):
    rate, threshold = eer(set_)
    candidates = [rates(set_, candidate) for candidate in {*set_.scores_M.tolist(), 1.0}]
    passed, refused = rates(set_, threshold)
    assert abs(passed - refused) == pytest.approx(min(abs(p - r) for p, r in candidates))
    assert rate == pytest.approx((passed + refused) / 2)
    assert 0 <= threshold <= 1


@settings(deadline=None, max_examples=60)
@given(scored())
def test_auc_is_the_share_of_pairs_in_the_right_order(set_):
    live, attacks = set_.scores_M[set_.live_M], set_.scores_M[~set_.live_M]
    wins = sum((a < b) + 0.5 * (a == b) for a in attacks for b in live)
    assert auc(set_) == pytest.approx(wins / (len(live) * len(attacks)))


@settings(deadline=None, max_examples=60)
@given(scored(), scores)
def test_rates_agree_with_counting(set_, threshold):
    passed, refused = rates(set_, threshold)
    assert bpcer(set_, threshold) == pytest.approx(refused)
    assert hter(set_, threshold) == pytest.approx((passed + refused) / 2)
    by_species = apcer_by_species(set_, threshold)
    for species, rate in by_species.items():
        of_species = [score for score, name in zip(set_.scores_M, set_.species_M, strict=True) if name == species]
        assert rate == pytest.approx(sum(score >= threshold for score in of_species) / len(of_species))
    assert set(by_species) == set(set_.species_M) - {"live"}
    assert apcer(set_, threshold) == max(by_species.values())


@settings(deadline=None, max_examples=100)
@given(scored(), st.sampled_from([0, 0.05, 0.1, 0.25, 0.5, 1]))
def test_threshold_holds_the_limit_for_every_species_and_no_lower_one_does(set_, limit):
    threshold = threshold_at_apcer(set_, limit)
    assert 0 <= threshold <= 1
    assert all(rate <= limit for rate in apcer_by_species(set_, threshold).values())
    if threshold > 0:
        assert apcer(set_, np.nextafter(threshold, -1)) > limit


def test_limit_of_the_worst_species_decides():
    threshold = threshold_at_apcer(EXAMPLE, 0.3)
    assert threshold == np.nextafter(0.6, 1)  # no replay of two may pass; one print of four could, at 0.5
    assert apcer_by_species(EXAMPLE, threshold) == {"print": 0.25, "replay": 0}


def test_part_is_taken_of_all_three():
    part = EXAMPLE.part(EXAMPLE.species_M == "replay")
    assert part.scores_M.tolist() == [0.6, 0.4]
    assert part.live_M.tolist() == [False, False]
    assert part.species_M.tolist() == ["replay", "replay"]


def test_acer_is_the_mean_of_the_worst_apcer_and_bpcer():
    assert acer(EXAMPLE, 0.55) == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0.0, 0.5),  # above 0.7, the best print
        (0.25, 0.5),  # a print may pass, but a replay is half of its species: above 0.6
        (0.5, 0.25),  # two prints and one replay may pass: above 0.4
        (1.0, 0.0),
    ],
)
def test_bpcer_at_a_fixed_apcer_of_the_worst_species(limit, expected):
    assert bpcer_at_apcer(EXAMPLE, limit) == pytest.approx(expected)


def test_both_labels_are_asked_for():
    assert EXAMPLE.has_both
    assert not EXAMPLE.part(EXAMPLE.live_M).has_both
    assert not EXAMPLE.part(~EXAMPLE.live_M).has_both


def test_without_clusters_each_score_is_one_of_its_own():
    assert len(set(EXAMPLE.cluster_M)) == 10


def test_attacks_that_score_1_leave_no_threshold_that_holds_a_limit():
    set_ = Scored.of([1.0, 1.0, 0.9, 1.0, 0.2], [True] * 3 + [False] * 2, ["live"] * 3 + ["print"] * 2)
    assert bpcer_at_apcer(set_, 0.5) == 0
    assert bpcer_at_apcer(set_, 0.1) == 1  # and not the third at a threshold of 1, where half of the prints pass
    assert threshold_at_apcer(set_, 0.1) == 1


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


def test_reference_attacks_count_every_domain_of_a_species_the_same():
    # Nine prints of one camera score 0.1, the only one of another 0.9: half of what a third camera expects passes 0.5.
    scores, domains = [0.1] * 9 + [0.9, 0.3, 0.99], ["a"] * 9 + ["b", "b", "a"]
    species = ["print"] * 10 + ["replay", "live"]
    people = [f"{domain}/{number % 3}" for number, domain in enumerate(domains)]
    found = reference_attacks(Scored.of(scores, [kind == "live" for kind in species], species, people), "a test")
    assert {name: (one.count, one.people) for name, one in found.photo.items()} == {"print": (10, 4), "replay": (1, 1)}
    quantiles = found.photo["print"].quantiles
    assert (quantiles[0], quantiles[49], quantiles[51], quantiles[100]) == (0.1, 0.1, 0.9, 0.9)


def test_a_large_source_does_not_decide_the_threshold_alone():
    # Live and print part at 0.8 in the large source and at 0.2 in the small one. Pooled, the small one hardly counts.
    large = [(0.9, True, "big/a"), (0.7, False, "big/a")] * 100
    small = [(0.3, True, "small/b"), (0.1, False, "small/b")] * 10
    mixed = [(0.69, True, "big/c"), (0.31, False, "small/d")] * 10
    together = [*large, *small, *mixed]
    dev = Scored.of(
        [score for score, _, _ in together],
        [live for _, live, _ in together],
        ["live" if live else "print" for _, live, _ in together],
        [cluster for *_, cluster in together],
    )
    alike = [
        abs(np.mean([bpcer(part, threshold) for part in parts]) - np.mean([apcer(part, threshold) for part in parts]))
        for threshold in (source_eer_threshold(dev), eer(dev)[1])
        for parts in [[dev.part(dev.domains == name) for name in ("big", "small")]]
    ]
    assert alike[0] < alike[1]
    assert source_eer_threshold(dev) < eer(dev)[1]


@settings(deadline=None, max_examples=50)
@given(scored())
def test_with_one_source_its_threshold_is_that_of_the_eer(data):
    one = Scored(data.scores_M, data.live_M, data.species_M, np.full(len(data.scores_M), "office/p"))
    assert source_eer_threshold(one) == eer(data)[1]


@settings(deadline=None, max_examples=60)
@given(scored(), st.integers(2, 4))
def test_copies_of_a_source_do_not_move_the_threshold(data, times):
    """What a pooled threshold gets wrong: more pictures of one source, and it follows that source."""
    other = Scored.of([0.9, 0.2, 0.6], [True, False, False], ["live", "print", "print"], ["hall/p"] * 3)

    def with_copies(count):
        parts = [other, *[data] * count]
        return Scored(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("scores_M", "live_M", "species_M")),
            np.array(["hall/p"] * 3 + ["office/p"] * (count * len(data.scores_M))),
        )

    def difference(threshold):
        one = with_copies(1)
        parts = [one.part(one.domains == name) for name in ("hall", "office")]
        refused = np.mean([bpcer(part, threshold) for part in parts])
        passed = np.mean([(part.scores_M[~part.live_M] >= threshold).mean() for part in parts])
        return abs(refused - passed)

    # Rounding may choose between two thresholds that are equally good.
    once, often = (difference(source_eer_threshold(with_copies(count))) for count in (1, times))
    assert once == pytest.approx(often, abs=1e-9)
